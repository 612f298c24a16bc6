"""Deconvolution: which pixels a convolution layer's feature maps come from.

Let A be the feature maps of a layer for the images, (N, C, H, W), after the layer's activation. Deconvolution chooses a start v
from them and walks it back to the pixels by the rules of ``engine.backward``:

    whole layer           v = A                        the layer's joint activity, all maps passed down together
    one map               v[k] = A[k], else 0
    strongest activation  v[k, p] = A[k, p], else 0    with p the place where A[k] is largest

The last is the picture of Zeiler and Fergus (Visualizing and Understanding Convolutional Networks, ECCV 2014, section 2.1):
"we set all other activations in the layer to zero and pass the feature maps as input to the attached deconvnet layer". The
first is that of the report (section 5 and figures 10 and 11). As no bias takes part, the projection of a v is a times that of
v, for a >= 0.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.feature_maps import trace_up_to
from viz_callbacks.engine.layer_trace import LayerTrace


def whole_layer(maps: Tensor) -> Tensor:
    """Start from all maps (N, C, H, W) together, as they are."""
    return maps


def one_map(maps: Tensor, k: int) -> Tensor:
    """Start from map k of ``maps`` (N, C, H, W) alone, all others set to zero.

    Raises:
        IndexError: there is no map k.
    """
    start = torch.zeros_like(maps)
    start[:, k] = maps[:, k]
    return start


def strongest_activation(maps: Tensor, k: int | Tensor) -> Tensor:
    """Start, in each image, from the single strongest activation of map k of ``maps`` (N, C, H, W), all others set to zero.

    Of equally strong ones it's the first in row-major order. ``k`` may be one for each image, (N,).

    >>> strongest_activation(torch.tensor([[[[1.0, 3.0], [2.0, 0.0]]]]), 0).tolist()
    [[[[0.0, 3.0], [0.0, 0.0]]]]

    Raises:
        IndexError: there is no map k.
    """
    images = torch.arange(len(maps), device=maps.device)
    rows, columns = torch.unravel_index(maps[images, k].flatten(1).argmax(1), maps.shape[2:])
    strongest = (images, k, rows, columns)
    start = torch.zeros_like(maps)
    start[strongest] = maps[strongest]
    return start


def deconvolution(traces: Sequence[LayerTrace], layer: str, select: Callable[[Tensor], Tensor] = whole_layer) -> Tensor:
    """Project feature maps of a convolution layer to the pixels.

    Zeiler and Fergus, ECCV 2014, section 2.1; report, section 5.

    >>> from viz_callbacks.engine.forward import record
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    >>> deconvolution(record(network, torch.randn(2, 3, 20, 20)), "0").shape
    torch.Size([2, 3, 20, 20])

    Args:
        traces: from ``record``, of N images.
        layer: the name of a convolution layer.
        select: makes the start from the layer's maps (N, C, H, W): ``whole_layer``, or something like
            ``partial(strongest_activation, k=7)``.

    Returns:
        The projections, (N, 3, H, W) for images of three channels.

    Raises:
        ValueError: ``layer`` names no convolution layer.
        UnknownLayerError: a layer below has no backward rule.
    """
    below = trace_up_to(traces, layer)
    return backproject(below, select(below[-1].output))
