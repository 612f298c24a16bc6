"""Deconvolution: which pixels a convolution layer's feature maps come from.

Let A be the feature maps of a layer for the images x: (N, C, H, W), after the layer's activation. Deconvolution chooses a
start from them and walks it back to the pixels, R = reverse_1(... reverse_i(start)), by the reverses of ``reverse.py``:

    whole layer           start = A                       the layer's joint activity, all maps passed down together
    one map               start[k] = A[k], else 0
    strongest activation  start[k, p] = A[k, p], else 0   with p the place where A[k] is largest

The last is the picture of Zeiler and Fergus (Visualizing and Understanding Convolutional Networks, ECCV 2014, section 2.1):
"we set all other activations in the layer to zero and pass the feature maps as input to the attached deconvnet layer". The
first is that of the report (section 5 and figures 10 and 11). As no bias takes part, R(a start) = a R(start) for a >= 0.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from viz_callbacks.reverse import Step, named_layers, walk_back, why_closed

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)
MAY_COME_BEFORE_ACTIVATION = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.LocalResponseNorm, nn.Dropout, nn.Dropout2d, nn.Identity)


def convolution_layers(network: nn.Module) -> list[str]:
    """Give the dotted names of the convolution layers, first to last. Raises NotAChainError as ``named_layers`` does.

    Those inside a part that ``named_layers`` can't open up aren't among them.
    """
    return [name for name, layer in named_layers(network) if isinstance(layer, nn.Conv2d)]


def steps_to(steps: Sequence[Step], layer: str) -> Sequence[Step]:
    """Give the steps from the images to the feature maps of a convolution layer.

    The maps are the output of the activation that follows the layer; a norm or dropout may stand between. Where something else
    does, such as a pool, they are the layer's own output. Raises ValueError if ``layer`` names no convolution layer.
    """
    convolutions = [step.name for step in steps if isinstance(step.layer, nn.Conv2d)]
    if layer not in convolutions:
        closed = "".join(why_closed(step.layer) for step in steps if f"{layer}.".startswith(f"{step.name}."))
        known = ", ".join(convolutions) or "none"
        raise ValueError(f"There is no convolution layer {layer!r}; the network has {known}.{closed}")
    own = next(index for index, step in enumerate(steps) if step.name == layer)
    return steps[: end_of_maps([step.layer for step in steps], own) + 1]


def layers_to(network: nn.Module, layer: str) -> nn.Sequential:
    """Give the layers that compute the feature maps of a convolution layer, as in ``steps_to``, under their dotted names.

    Raises ValueError for an unknown layer.
    """
    layers = list(named_layers(network))
    end = end_of_maps([each for _, each in layers], place_of(layers, layer))
    below = nn.Sequential()
    below._modules.update(layers[: end + 1])  # add_module() refuses dots
    return below


def place_of(layers: Sequence[tuple[str, nn.Module]], name: str) -> int:
    """The place of a layer among a network's. Raises ValueError for an unknown one."""
    names = [each for each, _ in layers]
    if name not in names:
        raise ValueError(f"There is no layer {name!r}; the network has {', '.join(names)}.")
    return names.index(name)


def end_of_maps(layers: Sequence[nn.Module], own: int) -> int:
    """The place of the activation that makes the feature maps of the layer at ``own``; ``own`` itself where none does."""
    for place, layer in enumerate(layers[own + 1 :], own + 1):
        if isinstance(layer, ACTIVATIONS):
            return place
        if not isinstance(layer, MAY_COME_BEFORE_ACTIVATION):
            break
    return own


def feature_maps(steps: Sequence[Step], layer: str) -> Tensor:
    """Give the feature maps (N, C, H, W) of a convolution layer, after its activation. Raises as ``steps_to`` does."""
    return steps_to(steps, layer)[-1].output


def whole_layer(maps: Tensor) -> Tensor:
    """Start from all maps together, as they are: (N, C, H, W) to the same."""
    return maps


def one_map(maps: Tensor, k: int) -> Tensor:
    """Start from map k alone, all others set to zero: (N, C, H, W) to the same. Raises IndexError if there is no map k."""
    start = torch.zeros_like(maps)
    start[:, k] = maps[:, k]
    return start


def strongest_activation(maps: Tensor, k: int) -> Tensor:
    """Start, in each image, from the single strongest activation of map k, all other activations set to zero.

    (N, C, H, W) to the same. Of equally strong ones it's the first in row-major order. Raises IndexError if there is no map k.
    """
    rows, columns = torch.unravel_index(maps[:, k].flatten(1).argmax(1), maps.shape[2:])
    strongest = (torch.arange(len(maps), device=maps.device), k, rows, columns)
    start = torch.zeros_like(maps)
    start[strongest] = maps[strongest]
    return start


def deconvolution(steps: Sequence[Step], layer: str, select: Callable[[Tensor], Tensor] = whole_layer) -> Tensor:
    """Project feature maps of a convolution layer to the pixels, (N, 3, H, W) for images of three channels.

    ``steps`` come from ``record``; ``select`` makes the start from the layer's maps (N, C, H, W): ``whole_layer``, or something
    like ``partial(strongest_activation, k=7)``. Raises ValueError if ``layer`` names no convolution layer, UnknownLayerError as
    ``walk_back`` does. Zeiler and Fergus, ECCV 2014, section 2.1; report, section 5.
    """
    below = steps_to(steps, layer)
    return walk_back(below, select(below[-1].output))
