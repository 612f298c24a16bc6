"""DeNet: which pixels speak for a class, according to all layers of the network, the dense ones included.

DeNet (report, section 7) begins with the one-hot vector of a class at the network's last output and shoves it towards the
images through every layer, by the reverses of ``reverse.py``. At a dense layer y = W x + b, "the tensor is multiplied by the
transpose of the weight matrix used during the forward pass after subtracting the bias":

    v' = W^T (v - b)

Rectifiers rectify, in the dense part as elsewhere; convolutions and pools are reversed as in Deconvolution. With switches from
the images, v[0] = DeNet(class; images). Because of the biases it isn't homogeneous: twice the one-hot is another picture.

The report lists dense, convolution and pooling layers as what is walked back, and says nothing of the rectifiers between the
dense layers; that they rectify is our reading. Both this and the bias can be turned off. In the two networks measured so far
(results/pictures.md) the biases drown the class: pictures of different classes are nearly the same with them, not without.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.backward import BACKWARD_RULES, Reverse, backproject, identity
from viz_callbacks.engine.layer_trace import LayerTrace


def one_hot(logits: Tensor, classes: Tensor) -> Tensor:
    """Give the one-hot rows of the classes, like ``logits`` in shape (N, number of classes), dtype and device.

    ``classes`` is (N,) of int64. Raises ValueError if the shapes don't fit or a class doesn't exist.
    """
    if logits.ndim != 2 or classes.shape != logits.shape[:1]:
        shapes = f"not {tuple(logits.shape)} and {tuple(classes.shape)}"
        raise ValueError(f"DeNet needs a last output (N, number of classes) and classes (N,), {shapes}.")
    if ((classes < 0) | (classes >= logits.shape[1])).any():
        raise ValueError(f"Classes must lie in 0 ... {logits.shape[1] - 1}, not {classes.tolist()}.")
    return F.one_hot(classes, logits.shape[1]).to(logits)


def denet(traces: Sequence[LayerTrace], classes: Tensor, rectify_dense: bool = True, subtract_bias: bool = True) -> Tensor:
    """Project one class for each image through the whole network to the pixels, (N, 3, H, W) for images of three channels.

    ``traces`` are all of ``record``'s, ``classes`` is (N,) of int64. ``rectify_dense=False`` lets negative values pass between
    the dense layers, ``subtract_bias=False`` leaves (v - b) out for v. Raises ValueError as ``one_hot`` does, UnknownLayerError
    as ``backproject`` does. Report, section 7.
    """
    return project_vector(traces, one_hot(traces[-1].output, classes), rectify_dense, subtract_bias)


def project_vector(
    traces: Sequence[LayerTrace], start: Tensor, rectify_dense: bool = True, subtract_bias: bool = True
) -> Tensor:
    """Project any vector at the network's output as ``denet`` does: a random one shows what owes nothing to a class.

    ``start`` is (N, number of classes).
    """
    dense_part = next((number for number, trace in enumerate(traces) if trace.input.ndim == 2), len(traces))
    reverses: dict[type[nn.Module], Reverse] = dict(BACKWARD_RULES)
    if not subtract_bias:
        reverses[nn.Linear] = transposed_weights
    if not rectify_dense:
        reverses |= {nn.ReLU: identity, nn.LeakyReLU: identity}
    return backproject(traces[:dense_part], backproject(traces[dense_part:], start, reverses))


def transposed_weights(trace: LayerTrace, value: Tensor) -> Tensor:
    """Multiply by the transposed weights, the bias left alone."""
    return value @ cast(nn.Linear, trace.layer).weight


def denet_of_classes(traces: Sequence[LayerTrace], classes: Sequence[int]) -> Tensor:
    """DeNet for several classes of the same images, (N, K, 3, H, W) for K classes."""
    count = len(traces[-1].output)
    pictures = [denet(traces, torch.full((count,), number, device=traces[-1].output.device)) for number in classes]
    return torch.stack(pictures, 1)
