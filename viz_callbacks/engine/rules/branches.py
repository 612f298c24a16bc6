"""Branches and functions: what joins values gives each its part back, and other functions go back by their adjoint."""

from typing import cast

import torch
from torch import Tensor, nn

from viz_callbacks.engine.function_layers import Add, Concatenate, LinearFunction, PlaceByPlace, Product
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import Back, backward_rule, never
from viz_callbacks.engine.rules.linear import adjoint
from viz_callbacks.engine.windows import one_place


@backward_rule(nn.Flatten, needs_values=never)
def unflatten(trace: LayerTrace, value: Tensor) -> Back:
    """Give the value the shape of the layer's input."""
    return value.reshape(trace.input.shape)


@backward_rule(Add, window=one_place, needs_values=never)
def to_both(trace: LayerTrace, value: Tensor) -> Back:
    """Give the value to both branches; where one was spread out to the other's shape, it gets the sum over what it became."""
    return tuple(value.sum_to_size(each.shape) for each in trace.inputs)


@backward_rule(Concatenate, window=one_place, needs_values=never)
def split(trace: LayerTrace, value: Tensor) -> Back:
    """Give each branch its own part."""
    dimension = cast(Concatenate, trace.layer).dimension
    return torch.split(value, [each.shape[dimension] for each in trace.inputs], dimension)


@backward_rule(Product, window=one_place)
def through_gate(trace: LayerTrace, value: Tensor) -> Back:
    """Multiply by the gate, which is held like a switch: what it was computed from gets nothing.

    So a picture of squeeze-and-excitation shows what went through the gate, and not what opened it.
    """
    gate = cast(Product, trace.layer).gate
    gated = (value * trace.inputs[gate]).sum_to_size(trace.inputs[1 - gate].shape)
    return (None, gated) if gate == 0 else (gated, None)


@backward_rule(LinearFunction, needs_values=never)
def function_adjoint(trace: LayerTrace, value: Tensor) -> Back:
    """Take the adjoint of a function that is linear but for a constant; of what it only takes the shape, nothing comes back."""
    function = cast(LinearFunction, trace.layer)
    carried, shapes = trace.inputs[: function.carried], trace.inputs[function.carried :]
    return *adjoint(lambda *values: function(*values, *shapes), carried, value), *[None] * len(shapes)


@backward_rule(PlaceByPlace, window=one_place, before_activation=True, needs_values=never)
def adjoint_place_by_place(trace: LayerTrace, value: Tensor) -> Back:
    """Do as ``function_adjoint`` does."""
    return function_adjoint(trace, value)
