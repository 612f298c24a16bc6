"""DeNet: which pixels speak for a class, according to all layers of the network, the dense ones included.

DeNet (report, section 7) begins with the one-hot vector of a class at the network's last output and shoves it towards the
images through every layer, by the reverses of ``reverse.py``. At a dense layer y = W x + b, "the tensor is multiplied by the
transpose of the weight matrix used during the forward pass after subtracting the bias":

    v' = W^T (v - b)

Rectifiers rectify, in the dense part as elsewhere; convolutions and pools are reversed as in Deconvolution. With switches from
the images, v[0] = DeNet(class; images). Because of the biases it isn't homogeneous: twice the one-hot is another picture.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from viz_callbacks.reverse import Step, walk_back


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


def denet(steps: Sequence[Step], classes: Tensor) -> Tensor:
    """Project one class for each image through the whole network to the pixels, (N, 3, H, W) for images of three channels.

    ``steps`` are all of ``record``'s, ``classes`` is (N,) of int64. Raises ValueError as ``one_hot`` does, UnknownLayerError as
    ``walk_back`` does. Report, section 7.
    """
    return walk_back(steps, one_hot(steps[-1].output, classes))
