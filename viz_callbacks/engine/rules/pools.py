"""Pools: to where the maximum came from, or shared out over the window."""

from typing import cast

import torch
from torch import Tensor, nn

from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import Back, backward_rule, never
from viz_callbacks.engine.rules.linear import adjoint, layer_adjoint
from viz_callbacks.engine.windows import pool_window


@backward_rule(nn.MaxPool2d, window=pool_window, needs_values=never)
def max_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Put each value where its maximum came from; where windows overlap, values add up."""
    assert trace.switches is not None
    places = value.new_zeros(trace.input.shape).flatten(2)
    places.scatter_add_(2, trace.switches.flatten(2), value.flatten(2))
    return places.view(trace.input.shape)


@backward_rule(nn.AdaptiveMaxPool2d, nn.MaxPool1d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool3d, needs_values=never)
def other_max_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Do as ``max_unpool`` does, for windows that receptive fields aren't computed from."""
    return max_unpool(trace, value)


@backward_rule(nn.AvgPool2d, window=pool_window, own_forward=layer_adjoint, needs_values=never)
def avg_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Spread each value evenly over its window: divided by what the average was divided by."""
    return layer_adjoint(trace, value)


@backward_rule(
    nn.AdaptiveAvgPool2d, nn.AvgPool1d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool3d, own_forward=layer_adjoint,
    needs_values=never,
)  # fmt: skip
def other_avg_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Do as ``avg_unpool`` does, for windows that receptive fields aren't computed from."""
    return layer_adjoint(trace, value)


@backward_rule(nn.LPPool2d, window=pool_window)
def lp_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Share each value over its window in proportion to x / y; nothing where y is 0.

    This is the exact derivative of y = sqrt(sum of x x). In a window that ``ceil_mode`` cuts short torch enlarges the sum as if
    the window were whole, and so are the shares.

    Raises:
        ValueError: the norm is another than 2.
    """
    pool = cast(nn.LPPool2d, trace.layer)
    if pool.norm_type != 2:
        raise ValueError(f"The pool {trace.name!r} has norm_type {pool.norm_type}; only nn.LPPool2d(2, ...) has a way back.")
    means = nn.AvgPool2d(pool.kernel_size, pool.stride, ceil_mode=pool.ceil_mode)
    rows, columns = pool_window(pool).kernel
    shares = torch.where(trace.output == 0, 0, value / trace.output * (rows * columns))
    return trace.input * adjoint(means, trace.inputs, shares)[0]
