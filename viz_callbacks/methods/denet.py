"""DeNet: which pixels speak for a class, according to all layers of the network, the dense ones included.

DeNet (report, section 7) begins with the one-hot vector v of a class at the network's last output and shoves it towards the
images through every layer, by the rules of ``engine.backward``. At a dense layer y = x W^T + b, "the tensor is multiplied by
the transpose of the weight matrix used during the forward pass after subtracting the bias":

    v' = (v - b) W

Rectifiers rectify, in the dense part as elsewhere; convolutions and pools go back as in Deconvolution, with the switches of the
images. Because of the biases DeNet isn't homogeneous: twice the one-hot is another picture.

The report lists dense, convolution and pooling layers as what is walked back, and says nothing of the rectifiers between the
dense layers; that they rectify is our reading. Both this and the bias can be turned off. In the two networks measured so far
(results/pictures.md) the biases drown the class: pictures of different classes are nearly the same with them, not without.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.function_layers import DenseFunction
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import BACKWARD_RULES, Back, BackwardFunction
from viz_callbacks.engine.rules.activations import leaky_rectify, rectify, rectify_if_never_negative
from viz_callbacks.engine.rules.linear import transposed_weights


def denet(traces: Sequence[LayerTrace], classes: Tensor, rectify_dense: bool = True, subtract_bias: bool = True) -> Tensor:
    """Project one class for each image through the whole network to the pixels. Report, section 7.

    >>> from viz_callbacks.engine.forward import record
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 10))
    >>> denet(record(network, torch.randn(2, 3, 20, 20)), torch.tensor([7, 1])).shape
    torch.Size([2, 3, 20, 20])

    Args:
        traces: all of ``record``'s, of N images.
        classes: (N,) of int64.
        rectify_dense: False lets negative values pass between the dense layers.
        subtract_bias: False leaves v - b out for v.

    Returns:
        The projections, (N, 3, H, W) for images of three channels.

    Raises:
        ValueError: as ``one_hot`` does.
        UnknownLayerError: a layer has no backward rule.
    """
    return project_vector(traces, one_hot(traces[-1].output, classes), rectify_dense, subtract_bias)


def project_vector(
    traces: Sequence[LayerTrace], vector: Tensor, rectify_dense: bool = True, subtract_bias: bool = True
) -> Tensor:
    """Project any ``vector`` (N, number of classes) at the network's output as ``denet`` does.

    A random one shows what the projections have in common whatever the class.
    """
    rules = dict(BACKWARD_RULES)
    if not subtract_bias:
        rules |= dict.fromkeys((nn.Linear, DenseFunction), transposed_weights)
    if not rectify_dense:
        rectifying = (rectify, rectify_if_never_negative, leaky_rectify)
        rules |= {kind: _on_maps_alone(rule) for kind, rule in rules.items() if rule in rectifying}
    return backproject(traces, vector, rules)


def _on_maps_alone(rule: BackwardFunction) -> BackwardFunction:
    """Return a rule for maps (N, C, H, W) that passes values (N, features) on as they are."""

    def on_maps(trace: LayerTrace, value: Tensor) -> Back:
        return value if trace.input.ndim == 2 else rule(trace, value)

    return on_maps


def one_hot(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the one-hot rows of ``classes`` (N,), like ``logits`` in shape (N, number of classes), dtype and device.

    >>> one_hot(torch.randn(2, 3), torch.tensor([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]

    Raises:
        ValueError: the shapes don't fit, or a class doesn't exist.
    """
    if logits.ndim != 2 or classes.shape != logits.shape[:1]:
        shapes = f"not {tuple(logits.shape)} and {tuple(classes.shape)}"
        raise ValueError(f"DeNet needs a last output (N, number of classes) and classes (N,), {shapes}.")
    if ((classes < 0) | (classes >= logits.shape[1])).any():
        raise ValueError(f"Classes must lie in 0 ... {logits.shape[1] - 1}, not {classes.tolist()}.")
    return F.one_hot(classes, logits.shape[1]).to(logits)


def denet_of_classes(traces: Sequence[LayerTrace], classes: Sequence[int]) -> Tensor:
    """Return DeNet for several classes of the same images, (N, K, 3, H, W) for K classes."""
    count = len(traces[-1].output)
    of_each = [denet(traces, torch.full((count,), number, device=traces[-1].output.device)) for number in classes]
    return torch.stack(of_each, 1)
