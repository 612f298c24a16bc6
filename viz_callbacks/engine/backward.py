"""The way back: one rule for each type of layer, and the walk through all of them.

A network is a list of named layers. Going down it, each layer turns x at its input into y = f(x), and ``forward.record`` keeps
what going back needs. Going back is the same list reversed, each type of layer with its own few lines: its rule turns a value v
at the layer's output into v' at its input, down to the pixels.

    forward            back: v to v'
    -----------------  ------------------------------------------------------------------------------------------------------
    convolution        with the transposed filters, no bias:
                       v'[c, q] = sum over k, p and u with q = stride p + dilation u - padding of w[k, c, u] v[k, p]
    max pooling        to where the maximum came from:  v'[q] = sum over p with s(p) = q of v[p]
    average pooling    spread evenly:  v'[q] = sum over p with q in P(p) of v[p] / |P(p)|
    L2 pooling         in proportion:  v'[q] = sum over p with q in P(p) of v[p] x[q] / y[p], and 0 where y[p] is 0
    rectifier          rectified:  v' = max(v, 0), whatever the rectifier let through on the way down
    norm, dropout      as it is:  v' = v
    flatten            unflattened:  v' = v, in the shape of x
    dense              minus the bias, times the transposed weights:  v' = (v - b) W

Here w are filters, W (outputs, inputs) and b the weights and biases of a dense layer y = x W^T + b, k and c channels of the
output and the input, p and q places in them, u places in a filter, s(p) the switch of the pooling window p (the place of its
maximum), P(p) the places in it and |P(p)| what its average divides by. Values that meet in one place add up:
``nn.MaxUnpool2d`` keeps only one of them, which is wrong wherever windows overlap. The rules of convolution, max and average
pooling are exact adjoints of the layers, biases left out and switches held: <v', x> = <v, f(x)>.

In the order of the layers this is the "(i) unpool, (ii) rectify and (iii) filter" of Zeiler and Fergus (Visualizing and
Understanding Convolutional Networks, ECCV 2014, section 2.1). The dense rule is DeNet's (report, section 7).

All of it runs under ``torch.inference_mode`` too, and leaves no gradients, hooks or changed modes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.convolution import transposed_convolution
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.tracing import explain_opaque

BackwardRule = Callable[[LayerTrace, Tensor], Tensor]
"""A layer's way back: its trace and v, shaped like its output, give v', shaped like its input."""

BACKWARD_RULES: dict[type[nn.Module], BackwardRule] = {}
"""The rule of each type of layer, and of the types derived from it. One more entry teaches the engine one more layer."""


def backward_rule(*kinds: type[nn.Module]) -> Callable[[BackwardRule], BackwardRule]:
    """Register the function below as the rule of these types of layers.

    >>> BACKWARD_RULES[nn.ReLU].__name__
    'rectify'
    """

    def register(rule: BackwardRule) -> BackwardRule:
        BACKWARD_RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


# --- The rules ----------------------------------------------------------------------------------------------------------------


@backward_rule(nn.Conv2d)
def conv_transpose(trace: LayerTrace, value: Tensor) -> Tensor:
    """Convolve with the transposed filters, without the bias, to exactly the size of the input.

    Raises:
        ValueError: as ``zero_padded`` does.
    """
    return transposed_convolution(zero_padded(trace), value, trace.input.shape[2:])


@backward_rule(nn.MaxPool2d, nn.AdaptiveMaxPool2d)
def max_unpool(trace: LayerTrace, value: Tensor) -> Tensor:
    """Put each value where its maximum came from; where windows overlap, values add up."""
    assert trace.switches is not None
    places = value.new_zeros(trace.input.shape).flatten(2)
    places.scatter_add_(2, trace.switches.flatten(2), value.flatten(2))
    return places.view(trace.input.shape)


@backward_rule(nn.AvgPool2d, nn.AdaptiveAvgPool2d)
def avg_unpool(trace: LayerTrace, value: Tensor) -> Tensor:
    """Spread each value evenly over its window: divided by what the average was divided by."""
    return adjoint(trace.layer.forward, trace.input, value)


@backward_rule(nn.LPPool2d)
def lp_unpool(trace: LayerTrace, value: Tensor) -> Tensor:
    """Share each value over its window in proportion to x / y; nothing where y is 0.

    For y = sqrt(sum of x x) this is the exact derivative. ``nn.LPPool2d`` itself enlarges y in a window that ``ceil_mode`` cuts
    short; the shares follow that y.

    Raises:
        ValueError: the norm is another than 2.
    """
    pool = cast(nn.LPPool2d, trace.layer)
    if pool.norm_type != 2:
        raise ValueError(f"The pool {trace.name!r} has norm_type {pool.norm_type}; only nn.LPPool2d(2, ...) has a way back.")
    sums = nn.AvgPool2d(pool.kernel_size, pool.stride, ceil_mode=pool.ceil_mode, divisor_override=1)
    shares = torch.where(trace.output == 0, 0, value / trace.output)
    return trace.input * adjoint(sums, trace.input, shares)


@backward_rule(nn.ReLU)
def rectify(trace: LayerTrace, value: Tensor) -> Tensor:
    """Keep what is positive, independently of what the rectifier let through on the way down."""
    return F.relu(value)


@backward_rule(nn.LeakyReLU)
def leaky_rectify(trace: LayerTrace, value: Tensor) -> Tensor:
    """Keep what is positive, and the same small share of what is negative as on the way down."""
    return F.leaky_relu(value, cast(nn.LeakyReLU, trace.layer).negative_slope)


@backward_rule(nn.Tanh)  # its maps have both signs: there is no side to keep
@backward_rule(nn.Sigmoid)  # its maps are positive everywhere: 0 means nothing here
@backward_rule(nn.LocalResponseNorm, nn.BatchNorm2d, nn.SyncBatchNorm)
@backward_rule(nn.Dropout, nn.Dropout2d, nn.Identity)
def identity(trace: LayerTrace, value: Tensor) -> Tensor:
    """Pass the value on as it is."""
    return value


@backward_rule(nn.Flatten)
def unflatten(trace: LayerTrace, value: Tensor) -> Tensor:
    """Give the value the shape of the layer's input."""
    return value.reshape(trace.input.shape)


@backward_rule(nn.Linear)
def linear_transpose(trace: LayerTrace, value: Tensor) -> Tensor:
    """Subtract the bias, then multiply by the transposed weights: (v - b) W."""
    linear = cast(nn.Linear, trace.layer)
    return (value if linear.bias is None else value - linear.bias) @ linear.weight


def zero_padded(trace: LayerTrace) -> nn.Conv2d:
    """Return the trace's layer, a convolution.

    Raises:
        ValueError: it pads with something other than zeros; a reflected border has no transposed filter.
    """
    conv = cast(nn.Conv2d, trace.layer)
    if conv.padding_mode != "zeros":
        raise ValueError(f"The convolution {trace.name!r} has padding_mode {conv.padding_mode!r}; only 'zeros' has a way back.")
    return conv


def adjoint(linear: Callable[[Tensor], Tensor], x: Tensor, value: Tensor) -> Tensor:
    """Return A^T v for a linear function A of tensors shaped like ``x``."""
    transposed = torch.func.vjp(linear, x)[1]
    (back,) = cast(tuple[Tensor], transposed(value))
    return back


# --- The walk -----------------------------------------------------------------------------------------------------------------


class UnknownLayerError(TypeError):
    """No rule is known for a layer's type; the message says which layer, and how to add one."""

    def __init__(self, trace: LayerTrace) -> None:
        kind = type(trace.layer).__name__
        super().__init__(
            f"No backward rule is known for the layer {trace.name!r}, a {kind}. Add one: BACKWARD_RULES[{kind}] = "
            f"function(trace, value), which turns a value at the layer's output into one at its input."
            f"{explain_opaque(trace.layer)}"
        )


def rule_for(trace: LayerTrace, rules: Mapping[type[nn.Module], BackwardRule] = BACKWARD_RULES) -> BackwardRule:
    """Return the rule of the trace's layer: its own type's, or else that of the nearest type it derives from.

    Raises:
        UnknownLayerError: there is none.
    """
    for kind in type(trace.layer).__mro__:
        if kind in rules:
            return rules[kind]
    raise UnknownLayerError(trace)


def backproject(
    traces: Sequence[LayerTrace], value: Tensor, rules: Mapping[type[nn.Module], BackwardRule] = BACKWARD_RULES
) -> Tensor:
    """Walk a value at the output of the last trace back to the input of the first: for all of ``record``'s, to the pixels.

    >>> from viz_callbacks.engine.forward import record
    >>> traces = record(nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU()), torch.randn(2, 3, 33, 33))
    >>> backproject(traces, traces[-1].output).shape
    torch.Size([2, 3, 33, 33])

    Args:
        traces: of consecutive layers, first to last.
        value: v, shaped like the last trace's output.
        rules: what each type of layer does with it.

    Returns:
        A tensor shaped like the first trace's input. It may have negative values, as nothing rectifies after the last filter.

    Raises:
        UnknownLayerError: a layer has no rule.
        ValueError: ``value`` has another shape than the last output.
    """
    if traces and value.shape != traces[-1].output.shape:
        shapes = f"{tuple(value.shape)}, but the output of {traces[-1].name!r} is {tuple(traces[-1].output.shape)}"
        raise ValueError(f"The value to walk back is {shapes}.")
    with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
        for trace in reversed(traces):
            value = rule_for(trace, rules)(trace, value)
    return value
