"""Autograd with other derivatives: an oracle for whole networks that knows nothing of the engine's layers, rules or graphs.

Rectifiers rectify the gradient, smooth and leaky ones too, as they do the value; sigmoids pass it on as it is. Dense layers
subtract their bias from it, but not on maps. Layer and group norms hold their statistics and squeeze-and-excitation holds its
gate. All else is autograd's own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops.misc import SqueezeExcitation


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(min=0), None


class _LeakyRectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.slope = slope
        return _torchs_leaky_relu(x, slope)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _torchs_leaky_relu(gradient, ctx.slope), None


class _PassOn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight, bias)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, bias = ctx.saved_tensors
        return (gradient - bias) @ weight, None, None


def _rectifying(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def rectifying(x: Tensor, *arguments: object, inplace: bool = False) -> Tensor:
        return cast(Tensor, _Rectify.apply(x, lambda value: function(value, *arguments)))

    return rectifying


def _passing_on(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def passing_on(x: Tensor, inplace: bool = False) -> Tensor:
        return cast(Tensor, _PassOn.apply(x, function))

    return passing_on


def _hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    assert min_val == 0
    return cast(Tensor, _Rectify.apply(x, lambda value: value.clamp(0, max_val)))


_torchs_gelu, _torchs_leaky_relu, _torchs_linear = F.gelu, F.leaky_relu, F.linear


def _leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return cast(Tensor, _LeakyRectify.apply(x, negative_slope))


def _gelu(x: Tensor, approximate: str = "none") -> Tensor:
    return cast(Tensor, _Rectify.apply(x, lambda value: _torchs_gelu(value, approximate=approximate)))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if x.ndim != 2 or bias is None:
        return _torchs_linear(x, weight, bias)
    return cast(Tensor, _Dense.apply(x, weight, bias))


def _layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    last = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    mean, variance = x.detach().mean(last, keepdim=True), x.detach().var(last, correction=0, keepdim=True)
    y = (x - mean) / (variance + eps).sqrt()
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def _group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    groups, shape = x.reshape(len(x), num_groups, -1), (1, -1, *[1] * (x.ndim - 2))
    mean, variance = groups.detach().mean(2, keepdim=True), groups.detach().var(2, correction=0, keepdim=True)
    y = ((groups - mean) / (variance + eps).sqrt()).view_as(x)
    return y * (1 if weight is None else weight.view(shape)) + (0 if bias is None else bias.view(shape))


def _gated(module: SqueezeExcitation, value: Tensor) -> Tensor:
    gate = module.scale_activation(module.fc2(module.activation(module.fc1(module.avgpool(value)))))
    return cast(Tensor, gate.detach() * value)


@contextmanager
def other_derivatives() -> Iterator[None]:
    """Give these derivatives to what torch's layers call, and to torchvision's squeeze-and-excitation, inside ``with``."""
    functions: dict[str, Any] = {name: _rectifying(getattr(F, name)) for name in ("relu", "silu", "hardswish")}
    functions |= {"gelu": _gelu, "hardtanh": _hardtanh, "hardsigmoid": _passing_on(F.hardsigmoid)}
    functions |= {"leaky_relu": _leaky_relu, "linear": _linear, "layer_norm": _layer_norm, "group_norm": _group_norm}
    with (
        mock.patch.multiple(F, **functions),
        mock.patch.object(torch, "sigmoid", _passing_on(torch.sigmoid)),
        mock.patch.object(Tensor, "sigmoid", _passing_on(torch.sigmoid)),  # the original: it is read before
        mock.patch.object(SqueezeExcitation, "forward", _gated),
    ):
        yield
