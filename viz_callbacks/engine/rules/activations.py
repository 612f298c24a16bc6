"""Activations: rectifiers rectify, what has both signs passes as it is."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import Back, backward_rule, never
from viz_callbacks.engine.windows import one_place


@backward_rule(
    nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, window=one_place, is_activation=True, needs_values=never
)
def rectify(trace: LayerTrace, value: Tensor) -> Back:
    """Keep what is positive, independently of what the rectifier let through on the way down.

    GELU, SiLU, Mish and Hardswish are rectifiers with a rounded corner: they let nothing lower than -0.31, or -0.38, through,
    and less the more negative it is. So they count as rectifiers; the corner has no part.
    """
    return F.relu(value)


@backward_rule(nn.Hardtanh, nn.Threshold, window=one_place, is_activation=True, needs_values=never)
def rectify_if_never_negative(trace: LayerTrace, value: Tensor) -> Back:
    """Rectify where the layer's maps can't be negative, such as those of ``nn.Hardtanh(0, 6)``; pass on as it is elsewhere."""
    layer = trace.layer
    lowest = min(layer.threshold, layer.value) if isinstance(layer, nn.Threshold) else cast(nn.Hardtanh, layer).min_val
    return F.relu(value) if lowest >= 0 else value


@backward_rule(nn.LeakyReLU, nn.PReLU, nn.RReLU, window=one_place, is_activation=True, needs_values=never)
def leaky_rectify(trace: LayerTrace, value: Tensor) -> Back:
    """Keep what is positive, and the same share of what is negative as on the way down."""
    match trace.layer:
        case nn.PReLU(weight=weight):
            return F.prelu(value, weight)
        case nn.RReLU(lower=lower, upper=upper):
            return F.leaky_relu(value, (lower + upper) / 2)
    return F.leaky_relu(value, cast(nn.LeakyReLU, trace.layer).negative_slope)


@backward_rule(
    nn.Tanh, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Softsign, nn.ELU, nn.CELU, nn.SELU,
    nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softplus, window=one_place, is_activation=True,
    needs_values=never,
)  # fmt: skip
def as_activation(trace: LayerTrace, value: Tensor) -> Back:
    """Pass the value on as it is: the maps have both signs, so there is no side to keep, or one sign, so 0 means nothing."""
    return value


@backward_rule(nn.GLU, is_activation=True)
def gated_half(trace: LayerTrace, value: Tensor) -> Back:
    """Return v times the gate for the first half of the channels, and nothing for the other half, from which the gate comes."""
    dim = cast(nn.GLU, trace.layer).dim
    gate = trace.input.chunk(2, dim)[1].sigmoid()
    return torch.cat([value * gate, torch.zeros_like(value)], dim)
