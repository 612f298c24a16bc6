"""Convolutions, dense layers and everything else that is linear but for a constant: the transposed filters, weights, or map."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from viz_callbacks.engine.convolution import transposed_convolution
from viz_callbacks.engine.function_layers import DenseFunction
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import Back, backward_rule, never
from viz_callbacks.engine.windows import conv_window, one_place, pad_window


def adjoint(linear: Callable[..., Tensor], inputs: Sequence[Tensor], value: Tensor) -> tuple[Tensor, ...]:
    """Return A^T v, a part for each input, for a function that is linear in all of them but for a constant.

    Of the inputs only the shapes and the types count, as the derivative of such a function is the same everywhere.
    """
    zeros = [value.new_zeros(each.shape, dtype=each.dtype) for each in inputs]
    transposed = torch.func.vjp(linear, *zeros)[1]
    return cast(tuple[Tensor, ...], transposed(value))


@backward_rule(
    nn.ConvTranspose2d, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.PixelShuffle, nn.PixelUnshuffle,
    nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d, nn.Unflatten, nn.Conv1d, nn.Conv3d,
    needs_values=never,
)  # fmt: skip
def layer_adjoint(trace: LayerTrace, value: Tensor) -> Back:
    """Take the adjoint of a layer that is linear but for a constant."""
    return adjoint(trace.layer.forward, trace.inputs, value)


@backward_rule(nn.ZeroPad2d, nn.ConstantPad2d, window=pad_window, own_forward=layer_adjoint, needs_values=never)
def crop(trace: LayerTrace, value: Tensor) -> Back:
    """Cut off what was padded."""
    return layer_adjoint(trace, value)


@backward_rule(nn.ChannelShuffle, window=one_place, own_forward=layer_adjoint, needs_values=never)
def unshuffle(trace: LayerTrace, value: Tensor) -> Back:
    """Put each channel back to where it came from."""
    return layer_adjoint(trace, value)


@backward_rule(nn.Conv2d, window=conv_window, own_forward=layer_adjoint, needs_values=never)
def conv_transpose(trace: LayerTrace, value: Tensor) -> Back:
    """Convolve with the transposed filters, without the bias, to exactly the size of the input."""
    conv = cast(nn.Conv2d, trace.layer)
    if conv.padding_mode != "zeros":  # the border mirrors the maps, so that what lies on it goes back into them
        return layer_adjoint(trace, value)
    return transposed_convolution(conv, value, trace.input.shape[2:])


def linear_adjoint(trace: LayerTrace, value: Tensor) -> Back:
    """Do as ``linear_transpose`` does for a dense layer with a forward of its own, whose bias is what it makes of zeros."""
    if trace.input.ndim == 2:
        value = value - trace.layer.forward(value.new_zeros(trace.input.shape))
    return layer_adjoint(trace, value)


@backward_rule(own_forward=layer_adjoint, needs_values=never)
def transposed_weights(trace: LayerTrace, value: Tensor) -> Back:
    """Multiply by the transposed weights of a dense layer and leave its bias alone: v W."""
    return value @ cast(nn.Linear, trace.layer).weight


@backward_rule(nn.Linear, DenseFunction, own_forward=linear_adjoint, needs_values=never)
def linear_transpose(trace: LayerTrace, value: Tensor) -> Back:
    """Subtract the bias, then multiply by the transposed weights: (v - b) W. On maps it's a convolution: without the bias."""
    bias = cast(nn.Linear, trace.layer).bias
    return transposed_weights(trace, value if bias is None or trace.input.ndim != 2 else value - bias)
