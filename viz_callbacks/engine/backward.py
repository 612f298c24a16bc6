"""The way back: one rule for each type of layer, and the walk through all of them.

A network is a graph of named layers; mostly it is a list. Going down it, each layer turns x at its input into y = f(x), and
``forward.record`` keeps what going back needs. Going back is the same graph reversed, each type of layer with its own few
lines: its rule turns a value v at the layer's output into v' at its input, down to the pixels.

    forward            back: v to v'
    -----------------  ------------------------------------------------------------------------------------------------------
    convolution        with the transposed filters, no bias:
                       v'[c, q] = sum over k, p and u with q = stride p + dilation u - padding of w[k, c, u] v[k, p]
    max pooling        to where the maximum came from:  v'[q] = sum over p with s(p) = q of v[p]
    average pooling    spread evenly:  v'[q] = sum over p with q in P(p) of v[p] / |P(p)|
    L2 pooling         in proportion:  v'[q] = sum over p with q in P(p) of v[p] x[q] / y[p], and 0 where y[p] is 0
    rectifier          rectified:  v' = max(v, 0), whatever the rectifier let through on the way down
    norm               times what it multiplied by:  v' = v g / sqrt(var + eps), statistics held
    dropout, LRN       as it is:  v' = v
    flatten            unflattened:  v' = v, in the shape of x
    dense              minus the bias, times the transposed weights:  v' = (v - b) W
    sum                to both:  v' = v for each
    concatenation      split
    gate               times the gate, held:  v' = v g for what was multiplied, nothing for the gate g
    other linear maps  their adjoint: padding, upsampling, a mean, a change of shape

and where a value was used twice, what comes back adds up. Here w are filters, W (outputs, inputs) and b the weights and biases
of a dense layer y = x W^T + b, k and c channels of the output and the input, p and q places in them, u places in a filter, s(p)
the switch of the pooling window p (the place of its maximum), P(p) the places in it and |P(p)| what its average divides by.
Values that meet in one place add up: ``nn.MaxUnpool2d`` keeps only one of them, which is wrong wherever windows overlap. The
rules of convolution, of pooling, of norms and of what joins branches are exact adjoints of the layers, biases left out and
switches, statistics and gates held: <v', x> = <v, f(x)>.

In the order of the layers this is the "(i) unpool, (ii) rectify and (iii) filter" of Zeiler and Fergus (Visualizing and
Understanding Convolutional Networks, ECCV 2014, section 2.1), who leave out local response normalisation on the way back. Batch
norm isn't left out: when evaluating it is a part of the convolution before it, and folding it into that changes no picture. The
dense rule is DeNet's (report, section 7).

All of it runs under ``torch.inference_mode`` too, and leaves no gradients, hooks or changed modes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.convolution import transposed_convolution
from viz_callbacks.engine.functions import Add, Concatenate, LayerNormFunction, LinearFunction, PlaceByPlace, Product
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import BACKWARD_RULES, Back, BackwardFunction, UnknownLayerError, backward_rule, rule_for
from viz_callbacks.engine.windows import conv_window, one_place, pad_window, pool_window

__all__ = ["BACKWARD_RULES", "Back", "BackwardFunction", "UnknownLayerError", "backproject", "backward_rule", "rule_for"]

# --- Linear maps --------------------------------------------------------------------------------------------------------------


def adjoint(linear: Callable[..., Tensor], inputs: Sequence[Tensor], value: Tensor) -> tuple[Tensor, ...]:
    """Return A^T v, a part for each input, for a function that is linear in all of them but for a constant."""
    transposed = torch.func.vjp(linear, *inputs)[1]
    return cast(tuple[Tensor, ...], transposed(value))


@backward_rule(
    nn.ConvTranspose2d, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.PixelShuffle, nn.PixelUnshuffle,
    nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d, nn.Unflatten,
)  # fmt: skip
def layer_adjoint(trace: LayerTrace, value: Tensor) -> Back:
    """Take the adjoint of a layer that is linear but for a constant."""
    return adjoint(trace.layer.forward, trace.inputs, value)


@backward_rule(nn.ZeroPad2d, nn.ConstantPad2d, window=pad_window, own_forward=layer_adjoint)
def crop(trace: LayerTrace, value: Tensor) -> Back:
    """Cut off what was padded."""
    return layer_adjoint(trace, value)


@backward_rule(nn.ChannelShuffle, window=one_place, own_forward=layer_adjoint)
def unshuffle(trace: LayerTrace, value: Tensor) -> Back:
    """Put each channel back to where it came from."""
    return layer_adjoint(trace, value)


@backward_rule(nn.Conv2d, window=conv_window, own_forward=layer_adjoint)
def conv_transpose(trace: LayerTrace, value: Tensor) -> Back:
    """Convolve with the transposed filters, without the bias, to exactly the size of the input."""
    conv = cast(nn.Conv2d, trace.layer)
    if conv.padding_mode != "zeros":  # the border mirrors the maps, so that what lies on it goes back into them
        return layer_adjoint(trace, value)
    return transposed_convolution(conv, value, trace.input.shape[2:])


def linear_adjoint(trace: LayerTrace, value: Tensor) -> Back:
    """Do as ``linear_transpose`` does for a dense layer with a forward of its own, whose bias is what it makes of zeros."""
    if trace.input.ndim == 2:
        value = value - trace.layer.forward(torch.zeros_like(trace.input))
    return layer_adjoint(trace, value)


@backward_rule(own_forward=layer_adjoint)
def transposed_weights(trace: LayerTrace, value: Tensor) -> Back:
    """Multiply by the transposed weights of a dense layer and leave its bias alone: v W."""
    return value @ cast(nn.Linear, trace.layer).weight


@backward_rule(nn.Linear, own_forward=linear_adjoint)
def linear_transpose(trace: LayerTrace, value: Tensor) -> Back:
    """Subtract the bias, then multiply by the transposed weights: (v - b) W. On maps it's a convolution: without the bias."""
    bias = cast(nn.Linear, trace.layer).bias
    return transposed_weights(trace, value if bias is None or trace.input.ndim != 2 else value - bias)


# --- Pools --------------------------------------------------------------------------------------------------------------------


@backward_rule(nn.MaxPool2d, window=pool_window)
def max_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Put each value where its maximum came from; where windows overlap, values add up."""
    assert trace.switches is not None
    places = value.new_zeros(trace.input.shape).flatten(2)
    places.scatter_add_(2, trace.switches.flatten(2), value.flatten(2))
    return places.view(trace.input.shape)


@backward_rule(nn.AdaptiveMaxPool2d)
def adaptive_max_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Do as ``max_unpool`` does."""
    return max_unpool(trace, value)


@backward_rule(nn.AvgPool2d, window=pool_window, own_forward=layer_adjoint)
def avg_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Spread each value evenly over its window: divided by what the average was divided by."""
    return layer_adjoint(trace, value)


@backward_rule(nn.AdaptiveAvgPool2d, own_forward=layer_adjoint)
def adaptive_avg_unpool(trace: LayerTrace, value: Tensor) -> Back:
    """Do as ``avg_unpool`` does."""
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


# --- Activations --------------------------------------------------------------------------------------------------------------


@backward_rule(nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, window=one_place, is_activation=True)
def rectify(trace: LayerTrace, value: Tensor) -> Back:
    """Keep what is positive, independently of what the rectifier let through on the way down.

    GELU, SiLU, Mish and Hardswish are rectifiers with a rounded corner: they let nothing lower than -0.31, or -0.38, through,
    and less the more negative it is. So they count as rectifiers; the corner has no part.
    """
    return F.relu(value)


@backward_rule(nn.Hardtanh, nn.Threshold, window=one_place, is_activation=True)
def rectify_if_never_negative(trace: LayerTrace, value: Tensor) -> Back:
    """Rectify where the layer's maps can't be negative, such as those of ``nn.Hardtanh(0, 6)``; pass on as it is elsewhere."""
    layer = trace.layer
    lowest = min(layer.threshold, layer.value) if isinstance(layer, nn.Threshold) else cast(nn.Hardtanh, layer).min_val
    return F.relu(value) if lowest >= 0 else value


@backward_rule(nn.LeakyReLU, nn.PReLU, nn.RReLU, window=one_place, is_activation=True)
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


# --- Norms --------------------------------------------------------------------------------------------------------------------


@backward_rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, window=one_place, before_activation=True)
def batch_norm_scale(trace: LayerTrace, value: Tensor) -> Back:
    """Return v g / sqrt(var + eps): the adjoint of an evaluating batch norm, which is a scale and a shift of each channel.

    So a picture is the same whether the norm is folded into its convolution or not. Without running statistics they are the
    batch's, held.
    """
    norm, x = cast(nn.BatchNorm2d, trace.layer), trace.input
    others = [dim for dim in range(x.ndim) if dim != 1]
    variance = x.var(others, correction=0) if norm.running_var is None else norm.running_var
    return value * _along_channels(_scale(variance, norm.eps, norm.weight), x)


@backward_rule(nn.GroupNorm, window=one_place, before_activation=True)
def group_norm_scale(trace: LayerTrace, value: Tensor) -> Back:
    """Return v g / sqrt(var + eps) with the variance of each group of channels of the image, held like a switch."""
    norm, x = cast(nn.GroupNorm, trace.layer), trace.input
    variance = x.reshape(len(x), norm.num_groups, -1).var(2, correction=0)
    variance = variance.repeat_interleave(x.shape[1] // norm.num_groups, 1)
    return value * _along_channels(_scale(variance, norm.eps, norm.weight), x)


@backward_rule(nn.InstanceNorm2d, window=one_place, before_activation=True)
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
    nn.Identity, window=one_place, before_activation=True,
)  # fmt: skip
def identity(trace: LayerTrace, value: Tensor) -> Back:
    """Pass the value on as it is."""
    return value


@backward_rule(nn.Softmax, nn.LogSoftmax)
def last_softmax(trace: LayerTrace, value: Tensor) -> Back:
    """Pass over a softmax that ends a network: what is walked back is a value at the logits.

    Raises:
        ValueError: it isn't a softmax over classes, (N, number of classes).
    """
    if trace.output.ndim != 2:
        raise ValueError(f"The softmax {trace.name!r} isn't the last layer of a classifier: it has no way back.")
    return value


# --- Shapes and branches ------------------------------------------------------------------------------------------------------


@backward_rule(nn.Flatten)
def unflatten(trace: LayerTrace, value: Tensor) -> Back:
    """Give the value the shape of the layer's input."""
    return value.reshape(trace.input.shape)


@backward_rule(Add, window=one_place)
def to_both(trace: LayerTrace, value: Tensor) -> Back:
    """Give the value to both branches; where one was spread out to the other's shape, it gets the sum over what it became."""
    return tuple(value.sum_to_size(each.shape) for each in trace.inputs)


@backward_rule(Concatenate, window=one_place)
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


@backward_rule(LinearFunction)
def function_adjoint(trace: LayerTrace, value: Tensor) -> Back:
    """Take the adjoint of a function that is linear but for a constant; of what it only takes the shape, nothing comes back."""
    function = cast(LinearFunction, trace.layer)
    carried, shapes = trace.inputs[: function.carried], trace.inputs[function.carried :]
    return *adjoint(lambda *values: function(*values, *shapes), carried, value), *[None] * len(shapes)


@backward_rule(PlaceByPlace, window=one_place, before_activation=True)
def adjoint_place_by_place(trace: LayerTrace, value: Tensor) -> Back:
    """Do as ``function_adjoint`` does."""
    return function_adjoint(trace, value)


# --- The walk -----------------------------------------------------------------------------------------------------------------


def backproject(
    traces: Sequence[LayerTrace], value: Tensor, rules: Mapping[type[nn.Module], BackwardFunction] = BACKWARD_RULES
) -> Tensor:
    """Walk a value at the output of the last trace back to the input of the first: for all of ``record``'s, to the pixels.

    >>> from viz_callbacks.engine.forward import record
    >>> traces = record(nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU()), torch.randn(2, 3, 33, 33))
    >>> backproject(traces, traces[-1].output).shape
    torch.Size([2, 3, 33, 33])

    Args:
        traces: first to last, with every layer between the first one's input and the last.
        value: v, shaped like the last trace's output.
        rules: what each type of layer does with it.

    Returns:
        A tensor shaped like the first trace's input. It may have negative values, as nothing rectifies after the last filter.

    Raises:
        UnknownLayerError: a layer has no rule.
        ValueError: ``value`` has another shape than the last output.
    """
    if not traces:
        return value
    if value.shape != traces[-1].output.shape:
        shapes = f"{tuple(value.shape)}, but the output of {traces[-1].name!r} is {tuple(traces[-1].output.shape)}"
        raise ValueError(f"The value to walk back is {shapes}.")
    arrived = {traces[-1].name: value}  # v at the outputs of layers, by name
    with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
        for trace in reversed(traces):
            if trace.name not in arrived:  # on a branch that doesn't lead to the start
                continue
            back = rule_for(trace, rules)(trace, arrived.pop(trace.name))
            for source, part in zip(trace.sources, back if isinstance(back, tuple) else (back,), strict=True):
                if part is not None:
                    arrived[source] = arrived[source] + part if source in arrived else part
    start = traces[0].sources[0]
    return arrived[start] if start in arrived else torch.zeros_like(traces[0].input)
