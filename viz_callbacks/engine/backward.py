"""The engine: a network is a list of named layers; record it on the way down, then walk the same list back.

Going down, layer i turns x[i-1] into x[i] = f_i(x[i-1]), from the images x[0]. Going back, its reverse turns a value v[i]
at the layer's output into a value v[i-1] at its input, down to the pixels v[0]. Write w for filters, W and b for the weights
and biases of a dense layer, p and q for places in the output and in the input. With switches s(p), the place where the
maximum of the window p came from, windows P(p) and the sizes |P(p)| that an average divides by, the reverses are

    convolution      v'[c, q] = sum over k, p and u with q = stride p + dilation u - padding of w[k, c, u] v[k, p]
    max pooling      v'[q] = sum over p with s(p) = q of v[p]
    average pooling  v'[q] = sum over p with q in P(p) of v[p] / |P(p)|
    L2 pooling       v'[q] = sum over p with q in P(p) of v[p] x[q] / y[p],  with y[p] the pool's output and 0 where it is 0
    rectifier        v' = max(v, 0), whatever the rectifier let through on the way down
    norm, dropout    v' = v
    flatten          v' = v, in the shape of the input
    dense            v' = (v - b) W

The first three are the exact adjoints of the layer, biases left out and switches held: <v', x> = <v, f(x)>. Values that meet
in one place add up; ``nn.MaxUnpool2d`` keeps only one of them, which is wrong wherever windows overlap. Walked in the order of
the layers, this is the "(i) unpool, (ii) rectify and (iii) filter" of Zeiler and Fergus (Visualizing and Understanding
Convolutional Networks, ECCV 2014, section 2.1). The dense rule is DeNet's (report, section 7).

Nothing here uses autograd, so it runs under ``torch.inference_mode`` too, and leaves no gradients, hooks or changed modes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.tracing import explain_opaque

FEW_CHANNELS = 16  # as many float32 as a vector register holds; libraries waste the rest on fewer

Reverse = Callable[[LayerTrace, Tensor], Tensor]
"""A layer's way back: the trace and a value shaped like its output give a value shaped like its input."""


class UnknownLayerError(TypeError):
    """No reverse is known for a layer's type; the message says which layer, and how to add one."""

    def __init__(self, trace: LayerTrace) -> None:
        kind = type(trace.layer).__name__
        super().__init__(
            f"No reverse is known for the layer {trace.name!r}, a {kind}. Add one: BACKWARD_RULES[{kind}] = function(trace, value), "
            f"which turns a value at the layer's output into one at its input.{explain_opaque(trace.layer)}"
        )


# --- Back, layer by layer -----------------------------------------------------------------------------------------------------


def conv_transpose(trace: LayerTrace, value: Tensor) -> Tensor:
    """Convolve with the transposed filters, without the bias, to exactly the size of the input.

    Raises ValueError for a padding mode other than zeros: a reflected border has no transposed filter.
    """
    conv = cast(nn.Conv2d, trace.layer)
    if conv.padding_mode != "zeros":
        raise ValueError(f"The convolution {trace.name!r} has padding_mode {conv.padding_mode!r}; only 'zeros' has a reverse.")
    (top, bottom), (left, right) = conv_padding(conv)
    images, channels, height, width = trace.input.shape
    if channels < FEW_CHANNELS and conv.groups == 1 and conv.dilation == (1, 1):
        whole = subpixel_conv_transpose(conv, value)
        return F.pad(whole, (-left, left + width - whole.shape[3], -top, top + height - whole.shape[2]))
    padded = (images, channels, height + bottom - top, width + right - left)
    # The ignore: torch.nn.grad has no types.
    back: Tensor = conv2d_input(padded, conv.weight, value, conv.stride, (top, left), conv.dilation, conv.groups)  # type: ignore[no-untyped-call]
    return back[..., :height, :width]


def subpixel_conv_transpose(layer: nn.Conv2d, value: Tensor) -> Tensor:
    """The transposed convolution as an ordinary one with stride 1: four times as fast for AlexNet's conv1.

    Of the pixels that come out, those whose rows and columns leave the same rests when divided by the stride are a convolution
    of the values with every stride-th weight. Each of these grids is a channel here; subpixel_conv_transpose they are the picture.
    """
    (down, across), (maps, channels, height, width) = layer.stride, layer.weight.shape
    rows, columns = -(-height // down), -(-width // across)
    filters = F.pad(layer.weight, (0, columns * across - width, 0, rows * down - height))
    filters = filters.view(maps, channels, rows, down, columns, across).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    grids = F.conv2d(value, filters.reshape(-1, maps, rows, columns), padding=(rows - 1, columns - 1))
    grids = grids.view(len(grids), channels, down, across, *grids.shape[2:])
    picture = grids.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
    return picture[:, :, : (value.shape[2] - 1) * down + height, : (value.shape[3] - 1) * across + width]


def conv_padding(conv: nn.Conv2d) -> list[tuple[int, int]]:
    """Give the padding before and after the rows, and before and after the columns."""
    if conv.padding == "same":  # where it is odd, the extra row or column comes last
        total = [dilation * (size - 1) for dilation, size in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    return [(0, 0), (0, 0)] if isinstance(conv.padding, str) else [(p, p) for p in conv.padding]


def unpool(trace: LayerTrace, value: Tensor) -> Tensor:
    """Put each value where its maximum came from; where windows overlap, values add up."""
    assert trace.switches is not None
    places = value.new_zeros(trace.input.shape).flatten(2)
    places.scatter_add_(2, trace.switches.flatten(2), value.flatten(2))
    return places.view(trace.input.shape)


def avg_unpool(trace: LayerTrace, value: Tensor) -> Tensor:
    """Spread each value evenly over its window: divided by what the average was divided by."""
    pool = cast(nn.AvgPool2d, trace.layer)
    rule = (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, pool.count_include_pad, pool.divisor_override)
    spread: Tensor = torch.ops.aten.avg_pool2d_backward(value, trace.input, *rule)
    return spread


def adaptive_avg_unpool(trace: LayerTrace, value: Tensor) -> Tensor:
    """Spread each value evenly over its window, for windows that follow from the output's size."""
    spread: Tensor = torch.ops.aten._adaptive_avg_pool2d_backward(value, trace.input)
    return spread


def lp_unpool(trace: LayerTrace, value: Tensor) -> Tensor:
    """Share each value over its window in proportion to input / output; nothing where the output is 0.

    For y = sqrt(sum of x x) this is the exact derivative. ``nn.LPPool2d`` itself enlarges y in a window that ``ceil_mode`` cuts
    short; the shares follow that y. Raises ValueError for a norm other than 2.
    """
    pool = cast(nn.LPPool2d, trace.layer)
    if pool.norm_type != 2:
        raise ValueError(
            f"The pool {trace.name!r} has norm_type {pool.norm_type}; only that of nn.LPPool2d(2, ...) has a reverse."
        )
    shares = torch.where(trace.output == 0, 0, value / trace.output)
    rule = (pool.kernel_size, pool.stride or pool.kernel_size, 0, pool.ceil_mode, True, 1)  # 1: sums, not averages
    sums: Tensor = torch.ops.aten.avg_pool2d_backward(shares, trace.input, *rule)
    return trace.input * sums


def rectify(trace: LayerTrace, value: Tensor) -> Tensor:
    """Keep what is positive, independently of what the rectifier let through on the way down."""
    return F.relu(value)


def leaky_rectify(trace: LayerTrace, value: Tensor) -> Tensor:
    """Keep what is positive, and the same small share of what is negative as on the way down."""
    return F.leaky_relu(value, cast(nn.LeakyReLU, trace.layer).negative_slope)


def identity(trace: LayerTrace, value: Tensor) -> Tensor:
    """Pass the value on unchanged."""
    return value


def reshape(trace: LayerTrace, value: Tensor) -> Tensor:
    """Give the value the shape of the layer's input."""
    return value.reshape(trace.input.shape)


def dense(trace: LayerTrace, value: Tensor) -> Tensor:
    """Subtract the bias, then multiply by the transposed weights: (v - b) W."""
    linear = cast(nn.Linear, trace.layer)
    return (value if linear.bias is None else value - linear.bias) @ linear.weight


BACKWARD_RULES: dict[type[nn.Module], Reverse] = {
    nn.Conv2d: conv_transpose,
    nn.MaxPool2d: unpool,
    nn.AdaptiveMaxPool2d: unpool,
    nn.AvgPool2d: avg_unpool,
    nn.AdaptiveAvgPool2d: adaptive_avg_unpool,
    nn.LPPool2d: lp_unpool,
    nn.ReLU: rectify,
    nn.LeakyReLU: leaky_rectify,
    nn.Tanh: identity,  # its maps have both signs: there is no side to keep
    nn.Sigmoid: identity,  # its maps are positive everywhere: 0 means nothing here
    nn.LocalResponseNorm: identity,
    nn.BatchNorm2d: identity,
    nn.SyncBatchNorm: identity,
    nn.Dropout: identity,
    nn.Dropout2d: identity,
    nn.Identity: identity,
    nn.Flatten: reshape,
    nn.Linear: dense,
}
"""The reverse of each layer type, and of the types derived from it. One more entry teaches the engine one more layer."""


# --- Back, all the way --------------------------------------------------------------------------------------------------------


def rule_for(trace: LayerTrace, reverses: Mapping[type[nn.Module], Reverse] = BACKWARD_RULES) -> Reverse:
    """Give the reverse of the trace's layer: its own type's, or else that of the nearest type it derives from.

    Raises UnknownLayerError where there is none.
    """
    for kind in type(trace.layer).__mro__:
        if kind in reverses:
            return reverses[kind]
    raise UnknownLayerError(trace)


def backproject(
    traces: Sequence[LayerTrace], value: Tensor, reverses: Mapping[type[nn.Module], Reverse] = BACKWARD_RULES
) -> Tensor:
    """Walk a value at the output of the last trace back to the input of the first: for all of ``record``'s traces, to the pixels.

    ``value`` is shaped like ``traces[-1].output``, the result like ``traces[0].input``. It may have negative values, as nothing
    rectifies after the last filter. Raises UnknownLayerError for a layer without a reverse, ValueError for another shape.
    """
    if traces and value.shape != traces[-1].output.shape:
        shapes = f"{tuple(value.shape)}, but the output of {traces[-1].name!r} is {tuple(traces[-1].output.shape)}"
        raise ValueError(f"The value to walk back is {shapes}.")
    with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
        for trace in reversed(traces):
            value = rule_for(trace, reverses)(trace, value)
    return value
