"""The plain gradient of a class with respect to the pixels: the control that Deconvolution and DeNet are measured against.

Simonyan, Vedaldi and Zisserman, Deep Inside Convolutional Networks (2013, arXiv 1312.6034), section 3.
"""

import torch
from torch import Tensor, nn

from viz_callbacks.engine.copies import eval_copy
from viz_callbacks.engine.tracing import unwrapped


def gradient(network: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return the derivative of each image's logit of its class, (N, C, H, W).

    As if evaluating; the network's own gradients and modes stay as they are. Works under ``torch.inference_mode`` too.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> derivative = gradient(network, torch.randn(1, 1, 2, 2), torch.tensor([1]))
    >>> torch.equal(derivative.flatten(), network[1].weight[1])
    True

    Args:
        network: as for ``record``, with a last output (N, number of classes).
        images: (N, C, H, W), as the network takes them.
        classes: (N,) of int64.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        pixels = images.clone().requires_grad_()
        logits = eval_copy(unwrapped(network))(pixels.clone())  # a copy, since a forward may write over its input
        (derivative,) = torch.autograd.grad(logits.gather(1, classes.clone()[:, None]).sum(), pixels)
    return derivative
