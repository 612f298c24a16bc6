"""The first layer's filters: the only ones that can be looked at as they are, since they lie in the pixels.

Zeiler and Fergus (ECCV 2014, section 4.1 and the figure of first-layer filters) read three things from them: whether one
dominates the others, which frequencies there are, and how many are dead. The dead ones are flat tiles in their figure, without
a number. Here a filter is dead when the layers above can't learn anything from it: its feature map, after the activation, has
the same value everywhere on every image that is looked at. A flat filter need not be dead, and a dead one need be neither flat
nor small: a bias far below 0 is enough. How small it is, its root mean square says.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from viz_callbacks.engine.feature_maps import dead_maps, feature_maps
from viz_callbacks.engine.forward import named_layers
from viz_callbacks.engine.layer_trace import LayerTrace


def first_filters(network: nn.Module) -> Tensor:
    """Return the filters (K, C, h, w) of the first convolution layer, detached.

    >>> first_filters(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU())).shape
    torch.Size([4, 3, 5, 5])

    Raises:
        ValueError: there is no convolution layer.
        UntraceableError: the network isn't a list of layers.
    """
    for _, layer in named_layers(network):
        if isinstance(layer, nn.Conv2d):
            return layer.weight.detach()
    raise ValueError("The network has no convolution layer, so it has no filters to look at.")


def conv_filters(network: nn.Module) -> dict[str, Tensor]:
    """Return the filters (K, C, h, w) of all convolution layers by name, first to last, detached; one used twice counts once.

    >>> filters = conv_filters(nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 6, 3)))
    >>> {name: tuple(weights.shape) for name, weights in filters.items()}
    {'0': (4, 3, 5, 5), '1': (6, 4, 3, 3)}

    Raises:
        UntraceableError: the network isn't a list of layers.
    """
    layers = {id(layer): (name, layer) for name, layer in reversed(list(named_layers(network))) if isinstance(layer, nn.Conv2d)}
    return {name: layer.weight.detach() for name, layer in reversed(layers.values())}


def root_mean_squares(filters: Tensor) -> Tensor:
    """Return the root mean square (K,) of each of the filters (K, C, h, w): Zeiler and Fergus's measure of a filter's size."""
    return filters.float().square().mean((1, 2, 3)).sqrt()


def dead_filters(traces: Sequence[LayerTrace]) -> list[bool]:
    """Return for each filter of the first convolution layer whether its map is dead: even on every recorded image.

    Args:
        traces: from ``record``; the more images, and the more different, the surer.

    Raises:
        ValueError: there is no convolution layer among them.
    """
    for trace in traces:
        if isinstance(trace.layer, nn.Conv2d):
            return dead_maps(feature_maps(traces, trace.name))
    raise ValueError("No convolution layer was recorded, so there are no filters to look at.")
