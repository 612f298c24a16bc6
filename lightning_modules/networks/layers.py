"""The layers that AlexNet and ZFNet consist of, among them those that torch lacks or has only in a slow form.

Local response normalisation (Krizhevsky et al. 2012, section 3.3) divides each value by a power of the energy of its
neighbours among the maps at the same place:

    b_c = a_c s_c^(-beta)   with   s_c = k + alpha sum_j a_j^2   over |j - c| <= n/2

The sum over neighbouring maps is a 1x1 convolution with a band matrix B of zeros and ones. B is symmetric, so the gradient
is one more such convolution, with g the gradient with respect to b:

    da = g s^(-beta) - 2 alpha beta a B (g a s^(-beta - 1))
"""

import math
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocalResponseNorm(nn.LocalResponseNorm):
    """Local response normalisation with the papers' constants; equal to ``nn.LocalResponseNorm`` and much faster on a CPU.

    ``alpha`` multiplies the SUM over the ``size`` neighbours as in the paper. PyTorch multiplies their mean, so its own
    ``alpha`` is ``size`` times the paper's; the attribute ``alpha`` of this subclass is PyTorch's.

    Shapes: (N, channels, H, W) in and out.
    """

    def __init__(self, channels: int, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__(size, alpha * size, beta, k)
        distance = (torch.arange(channels)[:, None] - torch.arange(channels)[None, :]).abs()
        self.register_buffer("band", (distance <= size // 2).float()[:, :, None, None], persistent=False)
        self.band: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Divide each value by the power of its neighbours' energy."""
        normalised: Tensor = _BandNorm.apply(input, self.band, self.alpha / self.size, self.beta, self.k)
        return normalised


class _BandNorm(torch.autograd.Function):
    """The formulas at the top of this file. Keeps the input, s and its power for the way back, as a power costs the most."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, band: Tensor, alpha: float, beta: float, k: float) -> Tensor:
        s = F.conv2d(a * a, band.to(a.dtype) * alpha, a.new_full((len(band),), k))
        power = s.pow(-beta).to(a.dtype)  # CUDA's autocast takes powers in float32
        ctx.save_for_backward(a, s, power, band)
        ctx.alpha, ctx.beta = alpha, beta
        return a * power

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None, None]:
        a, s, power, band = ctx.saved_tensors
        scaled = g * power
        neighbours = F.conv2d((scaled * a).div_(s), band.to(a.dtype) * (2 * ctx.alpha * ctx.beta))
        return scaled.addcmul_(neighbours, a, value=-1), None, None, None, None


def activation(name: str) -> nn.Module:
    """Build the activation layer of this name: relu, leaky_relu, tanh or sigmoid (report, section 2.1)."""
    match name:
        case "relu":
            return nn.ReLU(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(0.01, inplace=True)
        case "tanh":
            return nn.Tanh()
        case "sigmoid":
            return nn.Sigmoid()
    raise ValueError(f"no activation {name!r}: relu, leaky_relu, tanh or sigmoid")


def pool(name: str, ceil_mode: bool = False) -> nn.Module:
    """Build a 3x3 pool with stride 2, so that windows overlap: max, average or l2 (report, section 2.2)."""
    match name:
        case "max":
            return nn.MaxPool2d(3, 2, ceil_mode=ceil_mode)
        case "average":
            return nn.AvgPool2d(3, 2, ceil_mode=ceil_mode)
        case "l2":
            return nn.LPPool2d(2, 3, 2, ceil_mode=ceil_mode)
    raise ValueError(f"no pooling {name!r}: max, average or l2")


def adaptive_pool(name: str) -> nn.Module:
    """Build the pool before the dense layers, from which 6x6 maps come.

    On the 13x13 maps of a full-size input its windows are exactly those of the 3x3 pool with stride 2. Max and average
    pooling adapt their windows to other sizes, so one network takes images of any size; l2 pooling does not.
    """
    match name:
        case "max":
            return nn.AdaptiveMaxPool2d(6)
        case "average":
            return nn.AdaptiveAvgPool2d(6)
    return pool(name)


def norm(name: str, channels: int) -> nn.Module:
    """Build the normalisation layer of this name for so many maps: lrn, batch or none."""
    match name:
        case "lrn":
            return LocalResponseNorm(channels)
        case "batch":
            return nn.BatchNorm2d(channels)
        case "none":
            return nn.Identity()
    raise ValueError(f"no norm {name!r}: lrn, batch or none")


def classifier_head(num_classes: int, activation_name: str, dropout: float) -> OrderedDict[str, nn.Module]:
    """Build the dense layers that AlexNet and ZFNet end with (Krizhevsky et al. 2012, section 3.5).

    Shapes: maps (N, 256, 6, 6) to logits (N, num_classes).
    """
    return OrderedDict(
        flatten=nn.Flatten(),  # 9216
        fc6=nn.Linear(256 * 6 * 6, 4096),
        act6=activation(activation_name),
        drop6=nn.Dropout(dropout),
        fc7=nn.Linear(4096, 4096),
        act7=activation(activation_name),
        drop7=nn.Dropout(dropout),
        fc8=nn.Linear(4096, num_classes),
    )


def pool_before_relu(network: nn.Sequential) -> nn.Sequential:
    """Return the same layers in the order that computes fastest: each ReLU after the max pooling that follows it.

    Equal to the last bit in values and gradients, since the maximum of rectified values is the rectified maximum, and where a
    window has nothing above 0 the rectifier lets no gradient through in either order. Rectifying then has a quarter of the
    work. The network itself keeps its order, which is the one that Deconvolution and DeNet follow backwards.
    """
    layers = list(network.named_children())
    for index in range(len(layers) - 1):
        (_, first), (_, second) = layers[index : index + 2]
        if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
            layers[index : index + 2] = reversed(layers[index : index + 2])
    return nn.Sequential(OrderedDict(layers))


def initialise(network: nn.Module, activation_name: str) -> None:
    """Initialise all convolutions and dense layers as He et al. 2015 (arXiv 1502.01852, section 2.2), in place; biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            gain = nn.init.calculate_gain(activation_name, 0.01)  # type: ignore[arg-type]  # a str, of the four above
            nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
