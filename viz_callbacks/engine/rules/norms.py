"""Norms: times what they multiplied by, statistics held. Dropout, local response norm and a last softmax pass as they are."""

from typing import cast

from torch import Tensor, nn

from viz_callbacks.engine.function_layers import GroupNormFunction, InstanceNormFunction, LayerNormFunction
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import Back, backward_rule, never
from viz_callbacks.engine.windows import one_place


def takes_own_statistics(norm: nn.Module) -> bool:
    """Return whether a norm takes the statistics of its input, having no running ones."""
    return cast(nn.BatchNorm2d, norm).running_var is None


@backward_rule(
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, window=one_place, before_activation=True,
    needs_values=takes_own_statistics,
)  # fmt: skip
def batch_norm_scale(trace: LayerTrace, value: Tensor) -> Back:
    """Return v g / sqrt(var + eps): the adjoint of an evaluating batch norm, which is a scale and a shift of each channel.

    So a picture is the same whether the norm is folded into its convolution or not. Without running statistics they are the
    batch's, held.
    """
    norm, x = cast(nn.BatchNorm2d, trace.layer), trace.input
    others = [dim for dim in range(x.ndim) if dim != 1]
    variance = x.var(others, correction=0) if norm.running_var is None else norm.running_var
    return value * _along_channels(_scale(variance, norm.eps, norm.weight), x)


@backward_rule(nn.GroupNorm, GroupNormFunction, window=one_place, before_activation=True)
def group_norm_scale(trace: LayerTrace, value: Tensor) -> Back:
    """Return v g / sqrt(var + eps) with the variance of each group of channels of the image, held like a switch."""
    norm, x = cast(nn.GroupNorm, trace.layer), trace.input
    variance = x.reshape(len(x), norm.num_groups, -1).var(2, correction=0)
    variance = variance.repeat_interleave(x.shape[1] // norm.num_groups, 1)
    return value * _along_channels(_scale(variance, norm.eps, norm.weight), x)


@backward_rule(
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, InstanceNormFunction, window=one_place, before_activation=True,
    needs_values=takes_own_statistics,
)  # fmt: skip
def instance_norm_scale(trace: LayerTrace, value: Tensor) -> Back:
    """Return v g / sqrt(var + eps) with the variance of each channel of the image, held, or the running one if it has that."""
    norm, x = cast(nn.InstanceNorm2d, trace.layer), trace.input
    variance = x.flatten(2).var(2, correction=0) if norm.running_var is None else norm.running_var
    return value * _along_channels(_scale(variance, norm.eps, norm.weight), x)


@backward_rule(nn.LayerNorm, LayerNormFunction, before_activation=True)
def layer_norm_scale(trace: LayerTrace, value: Tensor) -> Back:
    """Return v g / sqrt(var + eps) with the variance over the last dimensions of the image, held like a switch."""
    norm = cast(nn.LayerNorm, trace.layer)
    last = [-1 - dim for dim in range(len(norm.normalized_shape))]
    return value * _scale(trace.input.var(last, correction=0, keepdim=True), norm.eps, norm.weight)


def _scale(variance: Tensor, eps: float, weight: Tensor | None) -> Tensor:
    scale = (variance + eps).rsqrt()
    return scale if weight is None else scale * weight


def _along_channels(scale: Tensor, x: Tensor) -> Tensor:
    """Return (C,) or (N, C) in a shape that multiplies x (N, C, ...)."""
    return scale.view(*scale.shape, *[1] * (x.ndim - 2))


@backward_rule(
    nn.LocalResponseNorm, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.Identity, window=one_place, before_activation=True, needs_values=never,
)  # fmt: skip
def identity(trace: LayerTrace, value: Tensor) -> Back:
    """Pass the value on as it is."""
    return value


@backward_rule(nn.Softmax, nn.LogSoftmax, needs_values=never)
def last_softmax(trace: LayerTrace, value: Tensor) -> Back:
    """Pass over a softmax that ends a network: what is walked back is a value at the logits.

    Raises:
        ValueError: it isn't a softmax over classes, (N, number of classes).
    """
    if trace.output.ndim != 2:
        raise ValueError(f"The softmax {trace.name!r} isn't the last layer of a classifier: it has no way back.")
    return value
