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
from torch import Tensor

from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.feature_maps import trace_up_to
from viz_callbacks.engine.layer_trace import LayerTrace


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


def deconvolution(traces: Sequence[LayerTrace], layer: str, select: Callable[[Tensor], Tensor] = whole_layer) -> Tensor:
    """Project feature maps of a convolution layer to the pixels, (N, 3, H, W) for images of three channels.

    ``traces`` come from ``record``; ``select`` makes the start from the layer's maps (N, C, H, W): ``whole_layer``, or something
    like ``partial(strongest_activation, k=7)``. Raises ValueError if ``layer`` names no convolution layer, UnknownLayerError as
    ``backproject`` does. Zeiler and Fergus, ECCV 2014, section 2.1; report, section 5.
    """
    below = trace_up_to(traces, layer)
    return backproject(below, select(below[-1].output))
