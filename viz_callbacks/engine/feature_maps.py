"""Where a convolution layer's feature maps are in a recorded forward pass, and which of them show nothing.

A map is *silent* on an image if it has the same value everywhere on it: it shows nothing there. It is *dead* if it has one and
the same value everywhere on all images that are looked at.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from viz_callbacks.engine.forward import named_layers
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.tracing import explain_opaque

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)
MAY_COME_BEFORE_ACTIVATION = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.LocalResponseNorm, nn.Dropout, nn.Dropout2d, nn.Identity)


def convolution_layers(network: nn.Module) -> list[str]:
    """Return the dotted names of the convolution layers, first to last.

    Those inside a module that ``named_layers`` can't open up aren't among them.

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


def trace_up_to(traces: Sequence[LayerTrace], layer: str) -> Sequence[LayerTrace]:
    """Return the traces from the images to the feature maps of a convolution layer.

    The maps are the output of the activation that follows the layer; a norm or dropout may stand between. Where something else
    does, such as a pool, they are the layer's own output.

    Raises:
        ValueError: ``layer`` names no convolution layer.
    """
    convolutions = [trace.name for trace in traces if isinstance(trace.layer, nn.Conv2d)]
    if layer not in convolutions:
        reasons = "".join(explain_opaque(trace.layer) for trace in traces if f"{layer}.".startswith(f"{trace.name}."))
        known = ", ".join(convolutions) or "none"
        raise ValueError(f"There is no convolution layer {layer!r}; the network has {known}.{reasons}")
    index = next(index for index, trace in enumerate(traces) if trace.name == layer)
    return traces[: activation_index([trace.layer for trace in traces], index) + 1]


def layers_up_to(network: nn.Module, layer: str) -> list[tuple[str, nn.Module]]:
    """Return the names and layers that compute the feature maps of a convolution layer, as in ``trace_up_to``.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten())
    >>> [name for name, _ in layers_up_to(network, "0")]
    ['0', '1']

    Raises:
        ValueError: there is no such layer.
    """
    layers = list(named_layers(network))
    return layers[: activation_index([each for _, each in layers], layer_index(layers, layer)) + 1]


def layer_index(layers: Sequence[tuple[str, nn.Module]], name: str) -> int:
    """Return the index of a layer among names and layers.

    Raises:
        ValueError: there is no such layer.
    """
    names = [each for each, _ in layers]
    if name not in names:
        raise ValueError(f"There is no layer {name!r}; the network has {', '.join(names)}.")
    return names.index(name)


def activation_index(layers: Sequence[nn.Module], index: int) -> int:
    """Return the index of the activation that makes the feature maps of the layer at ``index``; ``index`` where none does."""
    for after, layer in enumerate(layers[index + 1 :], index + 1):
        if isinstance(layer, ACTIVATIONS):
            return after
        if not isinstance(layer, MAY_COME_BEFORE_ACTIVATION):
            break
    return index


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
