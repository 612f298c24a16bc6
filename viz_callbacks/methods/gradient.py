"""The plain gradient of a class with respect to the pixels: the control that Deconvolution and DeNet are measured against.

Simonyan, Vedaldi and Zisserman, Deep Inside Convolutional Networks (2013, arXiv 1312.6034), section 3. The only place here
that uses autograd.
"""

import torch
from torch import Tensor, nn

from viz_callbacks.engine.forward import eval_copy, named_layers


def gradient(network: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """The derivative of each image's logit of its class, (N, C, H, W) for images (N, C, H, W) and classes (N,).

    As if evaluating; the network's own gradients and modes stay as they are. Works under inference_mode.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        pixels = images.clone().requires_grad_()
        value = pixels
        for _, layer in named_layers(network):
            value = eval_copy(layer)(value)
        (found,) = torch.autograd.grad(value.gather(1, classes.clone()[:, None]).sum(), pixels)
    return found
