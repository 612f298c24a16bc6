"""The layers and their backward rules once more in NumPy, slow and word for word as defined, to test the engine against.

Each rule takes the layer, x at its input, y at its output and a value v shaped like y, and gives v' shaped like x.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]
Place = tuple[int, ...]
Windows = list[list[int]]  # for each row (or column) of the output the rows of the input under it; some may lie outside
Rule = Callable[[nn.Module, Array, Array, Array], Array]

RULES: dict[type[nn.Module], Rule] = {}


def rule(*kinds: type[nn.Module]) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


# --- Windows ------------------------------------------------------------------------------------------------------------------


def windows(
    size: int, kernel: int, stride: int, padding: tuple[int, int] = (0, 0), dilation: int = 1, ceil_mode: bool = False
) -> Windows:
    room = size + sum(padding) - dilation * (kernel - 1) - 1
    count = (math.ceil if ceil_mode else math.floor)(room / stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding[0]:
        count -= 1  # a window must begin in the image or in the padding before it
    return [[place * stride - padding[0] + dilation * offset for offset in range(kernel)] for place in range(count)]


def adaptive_windows(size: int, count: int) -> Windows:
    return [list(range(place * size // count, math.ceil((place + 1) * size / count))) for place in range(count)]


def windows_of(layer: nn.Module, shape: tuple[int, ...]) -> list[Windows]:
    """The layer's windows on each dimension of an input of this shape: the rows and the columns, mostly."""
    made: Any = layer
    if isinstance(layer, ADAPTIVE):
        return [adaptive_windows(size, along(made.output_size, axis)) for axis, size in enumerate(shape[2:])]
    found = []
    for axis, size in enumerate(shape[2:]):
        kernel, stride = along(made.kernel_size, axis), along(made.stride or made.kernel_size, axis)
        dilation, padding = along(getattr(layer, "dilation", 1), axis), getattr(layer, "padding", 0)
        if padding == "same":  # where the total is odd, the extra row or column comes last
            total = dilation * (kernel - 1)
            before_and_after = (total // 2, total - total // 2)
        else:
            before_and_after = (0, 0) if padding == "valid" else (along(padding, axis), along(padding, axis))
        found.append(windows(size, kernel, stride, before_and_after, dilation, getattr(layer, "ceil_mode", False)))
    return found


ADAPTIVE = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool2d)


def along(size: object, axis: int) -> int:
    if isinstance(size, int):
        return size
    assert isinstance(size, tuple)
    return int(size[axis])


def under_windows(layer: nn.Module, shape: tuple[int, ...]) -> Iterator[tuple[Place, list[Place]]]:
    """All (image, channel, row, column) of a pool's output, each with the pixels of the input under its window, row by row."""
    of_each = windows_of(layer, shape)
    for n, c, *place in itertools.product(*map(range, shape[:2]), *(range(len(windows)) for windows in of_each)):
        inside = [within(of_each[axis][number], shape[2 + axis]) for axis, number in enumerate(place)]
        yield (n, c, *place), list(itertools.product(*inside))


def within(window: list[int], size: int) -> list[int]:
    return [place for place in window if 0 <= place < size]


# --- Convolution --------------------------------------------------------------------------------------------------------------


def taps(layer: nn.Module, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """All (output place, input place, filter value) of a convolution: y[output] += filter value * x[input]."""
    assert isinstance(layer, nn.Conv2d)
    weight = layer.weight.detach().numpy()
    rows, columns = windows_of(layer, shape)
    maps_per_group = weight.shape[0] // layer.groups
    for n, k in itertools.product(range(shape[0]), range(weight.shape[0])):
        for row, column in itertools.product(range(len(rows)), range(len(columns))):
            for c, (i, r), (j, s) in itertools.product(
                range(weight.shape[1]), enumerate(rows[row]), enumerate(columns[column])
            ):
                if 0 <= r < shape[2] and 0 <= s < shape[3]:
                    channel = k // maps_per_group * weight.shape[1] + c
                    yield (n, k, row, column), (n, channel, r, s), weight[k, c, i, j]


def convolution(layer: nn.Module, x: Array) -> Array:
    assert isinstance(layer, nn.Conv2d)
    rows, columns = windows_of(layer, x.shape)
    y = np.zeros((x.shape[0], layer.out_channels, len(rows), len(columns)))
    if layer.bias is not None:
        y += layer.bias.detach().numpy()[:, None, None]
    for output, place, filter_value in taps(layer, x.shape):
        y[output] += filter_value * x[place]
    return y


@rule(nn.Conv2d)
def conv_transpose(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    back = np.zeros(x.shape)
    for output, place, filter_value in taps(layer, x.shape):
        back[place] += filter_value * v[output]
    return back


# --- Pools --------------------------------------------------------------------------------------------------------------------


def max_pool(layer: nn.Module, x: Array) -> Array:
    rows, columns = windows_of(layer, x.shape)
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for (n, c, row, column), pixels in under_windows(layer, x.shape):
        y[n, c, row, column] = max(x[(n, c, *pixel)] for pixel in pixels)
    return y


@rule(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
def max_unpool(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    back = np.zeros(x.shape)
    for (n, c, *place), pixels in under_windows(layer, x.shape):
        best = max(pixels, key=lambda pixel: x[(n, c, *pixel)])  # the first, where several are equal
        back[(n, c, *best)] += v[(n, c, *place)]
    return back


@rule(nn.AvgPool2d)
def avg_unpool(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    assert isinstance(layer, nn.AvgPool2d)
    back = np.zeros(x.shape)
    rows, columns = windows_of(layer, x.shape)
    for (n, c, row, column), pixels in under_windows(layer, x.shape):
        counted_rows = [r for r in rows[row] if r < x.shape[2] + along(layer.padding, 0)]  # cut at the padding's end
        counted_columns = [s for s in columns[column] if s < x.shape[3] + along(layer.padding, 1)]
        padded = len(counted_rows) * len(counted_columns)
        divisor = layer.divisor_override or (padded if layer.count_include_pad else len(pixels))
        for pixel in pixels:
            back[(n, c, *pixel)] += v[n, c, row, column] / divisor
    return back


@rule(nn.AdaptiveAvgPool2d)
def adaptive_avg_unpool(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    back = np.zeros(x.shape)
    for (n, c, row, column), pixels in under_windows(layer, x.shape):
        for pixel in pixels:
            back[(n, c, *pixel)] += v[n, c, row, column] / len(pixels)
    return back


@rule(nn.LPPool2d)
def lp_unpool(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    assert isinstance(layer, nn.LPPool2d)
    back = np.zeros(x.shape)
    for (n, c, row, column), pixels in under_windows(layer, x.shape):
        for pixel in pixels:
            if y[n, c, row, column] != 0:
                enlarged = along(layer.kernel_size, 0) * along(layer.kernel_size, 1) / len(pixels)  # where the window is cut
                back[(n, c, *pixel)] += enlarged * v[n, c, row, column] * x[(n, c, *pixel)] / y[n, c, row, column]
    return back


# --- Place by place -----------------------------------------------------------------------------------------------------------


@rule(nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)
def rectify(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    back = np.zeros(x.shape)
    for place in np.ndindex(*v.shape):
        back[place] = v[place] if v[place] > 0 else 0
    return back


@rule(nn.Hardtanh, nn.Threshold)
def rectify_if_never_negative(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    with torch.no_grad():
        never_negative = bool((layer(torch.linspace(-50, 50, 2001)) >= 0).all())
    return rectify(layer, x, y, v) if never_negative else v.copy()


@rule(nn.LeakyReLU, nn.PReLU, nn.RReLU)
def leaky_rectify(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    back = np.zeros(x.shape)
    for place in np.ndindex(*v.shape):
        if isinstance(layer, nn.PReLU):
            slope = layer.weight.tolist()[place[1] if len(layer.weight) > 1 else 0]
        elif isinstance(layer, nn.RReLU):
            slope = (layer.lower + layer.upper) / 2
        else:
            assert isinstance(layer, nn.LeakyReLU)
            slope = layer.negative_slope
        back[place] = v[place] if v[place] > 0 else slope * v[place]
    return back


@rule(nn.GLU)
def gated_half(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    back = np.zeros(x.shape)
    half = x.shape[1] // 2
    for n, c, row, column in np.ndindex(*v.shape):
        back[n, c, row, column] = v[n, c, row, column] / (1 + math.exp(-x[n, half + c, row, column]))
    return back


AS_IT_IS: tuple[type[nn.Module], ...] = (
    nn.Tanh, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Softsign, nn.ELU, nn.CELU, nn.SELU, nn.Sigmoid, nn.Hardsigmoid,
    nn.LogSigmoid, nn.Softplus, nn.LocalResponseNorm, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.FeatureAlphaDropout, nn.Identity,
)  # fmt: skip


@rule(*AS_IT_IS, nn.Softmax, nn.LogSoftmax)
def identity(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    return v.copy()


def scaled(
    v: Array, variance: Callable[[tuple[int, ...]], float], eps: float, weight: Callable[[tuple[int, ...]], float]
) -> Array:
    back = np.zeros(v.shape)
    for place in np.ndindex(*v.shape):
        back[place] = v[place] * weight(place) / math.sqrt(variance(place) + eps)
    return back


@rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
def batch_norm_scale(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm)
    running = layer.running_var
    assert running is not None
    weights = np.ones(x.shape[1]) if layer.weight is None else layer.weight.detach().numpy()
    return scaled(v, lambda place: float(running[place[1]]), layer.eps, lambda place: float(weights[place[1]]))


@rule(nn.GroupNorm)
def group_norm_scale(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    assert isinstance(layer, nn.GroupNorm)
    size, weights = x.shape[1] // layer.num_groups, layer.weight.detach().numpy()

    def variance(place: tuple[int, ...]) -> float:
        first = place[1] // size * size
        return float(x[place[0], first : first + size].var())

    return scaled(v, variance, layer.eps, lambda place: float(weights[place[1]]))


@rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def instance_norm_scale(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    assert isinstance(layer, nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d)
    running, weight = layer.running_var, layer.weight

    def variance(place: tuple[int, ...]) -> float:
        return float(x[place[:2]].var() if running is None else running[place[1]])

    return scaled(v, variance, layer.eps, lambda place: 1.0 if weight is None else weight[place[1]].item())


@rule(nn.LayerNorm)
def layer_norm_scale(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    assert isinstance(layer, nn.LayerNorm)
    first, weights = x.ndim - len(layer.normalized_shape), layer.weight.detach().numpy()
    return scaled(v, lambda place: float(x[place[:first]].var()), layer.eps, lambda place: float(weights[place[first:]]))


def response_norm(layer: nn.Module, x: Array) -> Array:
    assert isinstance(layer, nn.LocalResponseNorm)
    y = np.zeros(x.shape)
    for n, c, row, column in np.ndindex(*x.shape):
        neighbours = range(max(0, c - layer.size // 2), min(x.shape[1], c + (layer.size - 1) // 2 + 1))
        energy = sum(x[n, j, row, column] ** 2 for j in neighbours)
        y[n, c, row, column] = x[n, c, row, column] / (layer.k + layer.alpha / layer.size * energy) ** layer.beta
    return y


# --- Other linear maps --------------------------------------------------------------------------------------------------------


@rule(
    nn.ConvTranspose2d, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.PixelShuffle, nn.PixelUnshuffle,
    nn.ChannelShuffle, nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d, nn.Unflatten,
    nn.Conv1d, nn.Conv3d, nn.AvgPool1d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool3d,
)  # fmt: skip
def transposed(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    """Each input place gets <v, what the layer makes of a 1 there>."""
    back = np.zeros(x.shape)
    with torch.no_grad():
        constant = layer(torch.zeros(x.shape, dtype=torch.float64))
        for place in np.ndindex(*x.shape):
            one = torch.zeros(x.shape, dtype=torch.float64)
            one[place] = 1
            back[place] = float(((layer(one) - constant).numpy() * v).sum())
    return back


# --- Dense --------------------------------------------------------------------------------------------------------------------


@rule(nn.Flatten)
def unflatten(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    back = np.zeros(x.shape)
    for n in range(len(x)):
        for place, value in zip(np.ndindex(*x.shape[1:]), v[n].flat, strict=True):
            back[(n, *place)] = value
    return back


@rule(nn.Linear)
def linear_transpose(layer: nn.Module, x: Array, y: Array, v: Array) -> Array:
    """(v - b) W of y = x W^T + b."""
    assert isinstance(layer, nn.Linear)
    weight = layer.weight.detach().numpy()
    bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().numpy()
    back = np.zeros(x.shape)
    for n, i, j in np.ndindex(len(v), *weight.shape):
        back[n, j] += (v[n, i] - bias[i]) * weight[i, j]
    return back
