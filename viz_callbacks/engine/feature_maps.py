"""Where a convolution layer's feature maps are in a trace, and which of them show nothing."""

from collections.abc import Sequence

from torch import Tensor, nn

from viz_callbacks.engine.forward import named_layers
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.tracing import explain_opaque

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)
MAY_COME_BEFORE_ACTIVATION = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.LocalResponseNorm, nn.Dropout, nn.Dropout2d, nn.Identity)


def convolution_layers(network: nn.Module) -> list[str]:
    """Give the dotted names of the convolution layers, first to last. Raises UntraceableError as ``named_layers`` does.

    Those inside a part that ``named_layers`` can't open up aren't among them.
    """
    return [name for name, layer in named_layers(network) if isinstance(layer, nn.Conv2d)]


def trace_up_to(traces: Sequence[LayerTrace], layer: str) -> Sequence[LayerTrace]:
    """Give the traces from the images to the feature maps of a convolution layer.

    The maps are the output of the activation that follows the layer; a norm or dropout may stand between. Where something else
    does, such as a pool, they are the layer's own output. Raises ValueError if ``layer`` names no convolution layer.
    """
    convolutions = [trace.name for trace in traces if isinstance(trace.layer, nn.Conv2d)]
    if layer not in convolutions:
        closed = "".join(explain_opaque(trace.layer) for trace in traces if f"{layer}.".startswith(f"{trace.name}."))
        known = ", ".join(convolutions) or "none"
        raise ValueError(f"There is no convolution layer {layer!r}; the network has {known}.{closed}")
    own = next(index for index, trace in enumerate(traces) if trace.name == layer)
    return traces[: activation_index([trace.layer for trace in traces], own) + 1]


def layers_up_to(network: nn.Module, layer: str) -> nn.Sequential:
    """Give the layers that compute the feature maps of a convolution layer, as in ``trace_up_to``, under their dotted names.

    Raises ValueError for an unknown layer.
    """
    layers = list(named_layers(network))
    end = activation_index([each for _, each in layers], layer_index(layers, layer))
    below = nn.Sequential()
    below._modules.update(layers[: end + 1])  # add_module() refuses dots
    return below


def layer_index(layers: Sequence[tuple[str, nn.Module]], name: str) -> int:
    """The place of a layer among a network's. Raises ValueError for an unknown one."""
    names = [each for each, _ in layers]
    if name not in names:
        raise ValueError(f"There is no layer {name!r}; the network has {', '.join(names)}.")
    return names.index(name)


def activation_index(layers: Sequence[nn.Module], own: int) -> int:
    """The place of the activation that makes the feature maps of the layer at ``own``; ``own`` itself where none does."""
    for place, layer in enumerate(layers[own + 1 :], own + 1):
        if isinstance(layer, ACTIVATIONS):
            return place
        if not isinstance(layer, MAY_COME_BEFORE_ACTIVATION):
            break
    return own


def feature_maps(traces: Sequence[LayerTrace], layer: str) -> Tensor:
    """Give the feature maps (N, C, H, W) of a convolution layer, after its activation. Raises as ``trace_up_to`` does."""
    return trace_up_to(traces, layer)[-1].output


def silent_maps(maps: Tensor) -> list[bool]:
    """For maps (K, h, w) of one image: whether a map has the same value everywhere, so that there is nothing to see."""
    flat = maps.detach().flatten(1)
    return [bool(same) for same in (flat == flat[:, :1]).all(dim=1)]


def dead_maps(maps: Tensor) -> list[bool]:
    """For maps (N, K, h, w) of all probes: whether a map has the same value everywhere on every one of them."""
    return silent_maps(maps.detach().transpose(0, 1).flatten(1, 2))
