"""Where a convolution layer's feature maps are in a recorded forward pass, and which of them show nothing.

A map is *silent* on an image if it has the same value everywhere on it: it shows nothing there. It is *dead* if it has one and
the same value everywhere on all images that are looked at.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from viz_callbacks.engine.backward import blocked_layers
from viz_callbacks.engine.forward import named_layers
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.needed_values import maps_layer


def convolution_layers(network: nn.Module) -> list[str]:
    """Return the dotted names of the convolution layers, first to last.

    Those inside a module that can't be opened up aren't among them.

    >>> convolution_layers(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())))
    ['0', '2.0']

    Raises:
        UntraceableError: as ``named_layers`` does.
    """
    return [name for name, layer in named_layers(network) if isinstance(layer, nn.Conv2d)]


def feature_maps(traces: Sequence[LayerTrace], layer: str) -> Tensor:
    """Return the feature maps (N, C, H, W) of a convolution layer, after its activation.

    >>> import torch
    >>> from viz_callbacks.engine.forward import record
    >>> traces = record(nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU()), torch.randn(2, 3, 33, 33))
    >>> feature_maps(traces, "0").shape
    torch.Size([2, 4, 15, 15])

    Raises:
        ValueError: ``layer`` names no convolution layer.
    """
    return trace_up_to(traces, layer)[-1].output


def trace_up_to(traces: Sequence[LayerTrace], layer: str) -> list[LayerTrace]:
    """Return the traces of all layers that a convolution layer's feature maps depend on; the last one's output are the maps.

    The maps are the output of the activation that follows the layer; a norm or dropout may stand between. Where something else
    does, such as a pool or a sum of branches, they are the layer's own output.

    Raises:
        ValueError: ``layer`` names no convolution layer.
    """
    convolutions = [trace.name for trace in traces if isinstance(trace.layer, nn.Conv2d)]
    if layer not in convolutions:
        reasons = "".join(trace.closed for trace in traces if f"{layer}.".startswith(f"{trace.name}."))
        known = ", ".join(convolutions) or "none"
        raise ValueError(f"There is no convolution layer {layer!r}; the network has {known}.{reasons}")
    needed = {maps_layer(traces, layer)}
    below: list[LayerTrace] = []
    for trace in reversed(traces):
        if trace.name in needed:
            needed.update(trace.sources)
            below.append(trace)
    return below[::-1]


def open_layers(traces: Sequence[LayerTrace]) -> tuple[list[str], str]:
    """Return the convolution layers that can be projected to the pixels, and words on what can't be, and why; '' if all can."""
    blocked = blocked_layers(traces)
    convolutions = [trace.name for trace in traces if isinstance(trace.layer, nn.Conv2d)]
    ends = {layer: maps_layer(traces, layer) for layer in convolutions}
    closed = [layer for layer, end in ends.items() if end in blocked]
    parts = [f"{len(closed)} of {len(convolutions)} convolution layers"] if closed else []
    reason = blocked[ends[closed[0]]] if closed else ""
    if traces[-1].name in blocked and traces[-1].output.ndim == 2:
        parts.append("DeNet")
        reason = reason or blocked[traces[-1].name]
    left_out = f"Without {' and '.join(parts)}: {reason}" if parts else ""
    return [layer for layer in convolutions if layer not in closed], left_out


def silent_maps(maps: Tensor) -> list[bool]:
    """Return for maps (K, h, w) of one image which are silent on it: have the same value everywhere."""
    flat = maps.detach().flatten(1)
    return [bool(same) for same in (flat == flat[:, :1]).all(dim=1)]


def dead_maps(maps: Tensor) -> list[bool]:
    """Return for maps (N, K, h, w) which are dead: have one and the same value everywhere on all N images.

    >>> import torch
    >>> dead_maps(torch.stack([torch.zeros(2, 5, 5), torch.rand(2, 5, 5)], dim=1))
    [True, False]
    """
    return silent_maps(maps.detach().transpose(0, 1).flatten(1, 2))


def strongest_maps(maps: Tensor, count: int) -> list[int]:
    """Return which ``count`` of the maps (K, h, w) have the largest mean absolute values, largest first; all where fewer are.

    >>> import torch
    >>> strongest_maps(torch.tensor([[[1.0]], [[-5.0]], [[2.0]]]), 2)
    [1, 2]
    """
    found: list[int] = maps.float().abs().mean((1, 2)).topk(min(count, len(maps))).indices.tolist()
    return found
