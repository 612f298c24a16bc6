"""The layers and their reverses once more in NumPy, slow and word for word as defined, to test the engine against."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """Where the windows of a convolution or pool lie; the same for rows and columns."""

    kernel: int
    stride: int
    padding: int = 0
    dilation: int = 1
    ceil_mode: bool = False

    def outputs(self, size: int) -> int:
        room = size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1
        count = (math.ceil if self.ceil_mode else math.floor)(room / self.stride) + 1
        if self.ceil_mode and (count - 1) * self.stride >= size + self.padding:
            count -= 1  # a window must begin in the image or in the padding before it
        return count

    def window(self, place: int) -> list[int]:
        """The rows (or columns) of the image under window number `place`; some may lie outside of the image."""
        return [place * self.stride - self.padding + self.dilation * offset for offset in range(self.kernel)]

    def pixels(self, shape: tuple[int, ...], row: int, column: int) -> list[tuple[int, int]]:
        """The pixels of the image under a window, row by row."""
        places = itertools.product(self.window(row), self.window(column))
        return [(r, c) for r, c in places if 0 <= r < shape[-2] and 0 <= c < shape[-1]]


def outputs(shape: tuple[int, ...], g: Geometry) -> Iterator[tuple[int, ...]]:
    """All (image, channel, row, column) of a pool's output."""
    return itertools.product(range(shape[0]), range(shape[1]), range(g.outputs(shape[2])), range(g.outputs(shape[3])))


def convolution_taps(
    shape: tuple[int, ...], weight: Array, g: Geometry, groups: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """All (output place, input place, filter value) of a convolution: y[output] += filter value * x[input]."""
    maps_per_group = weight.shape[0] // groups
    for n, k in itertools.product(range(shape[0]), range(weight.shape[0])):
        for row, column in itertools.product(range(g.outputs(shape[2])), range(g.outputs(shape[3]))):
            for c, (i, r), (j, s) in itertools.product(
                range(weight.shape[1]), enumerate(g.window(row)), enumerate(g.window(column))
            ):
                if 0 <= r < shape[2] and 0 <= s < shape[3]:
                    channel = k // maps_per_group * weight.shape[1] + c
                    yield (n, k, row, column), (n, channel, r, s), weight[k, c, i, j]


def convolution(x: Array, weight: Array, bias: Array, g: Geometry, groups: int = 1) -> Array:
    y = np.zeros((x.shape[0], weight.shape[0], g.outputs(x.shape[2]), g.outputs(x.shape[3]))) + bias[:, None, None]
    for output, place, filter_value in convolution_taps(x.shape, weight, g, groups):
        y[output] += filter_value * x[place]
    return y


def conv_transpose(value: Array, shape: tuple[int, ...], weight: Array, g: Geometry, groups: int = 1) -> Array:
    back = np.zeros(shape)
    for output, place, filter_value in convolution_taps(shape, weight, g, groups):
        back[place] += filter_value * value[output]
    return back


def max_pool(x: Array, g: Geometry) -> tuple[Array, dict[tuple[int, ...], tuple[int, int]]]:
    """The maxima, and for each of them the pixel that it came from (the first, where several are equal)."""
    y = np.zeros((*x.shape[:2], g.outputs(x.shape[2]), g.outputs(x.shape[3])))
    switches: dict[tuple[int, ...], tuple[int, int]] = {}
    for n, c, row, column in outputs(x.shape, g):
        best = max(g.pixels(x.shape, row, column), key=lambda pixel: x[(n, c, *pixel)])
        y[n, c, row, column] = x[(n, c, *best)]
        switches[n, c, row, column] = best
    return y, switches


def max_unpool(value: Array, shape: tuple[int, ...], switches: dict[tuple[int, ...], tuple[int, int]]) -> Array:
    back = np.zeros(shape)
    for (n, c, row, column), pixel in switches.items():
        back[(n, c, *pixel)] += value[n, c, row, column]
    return back


def avg_unpool(
    value: Array, shape: tuple[int, ...], g: Geometry, count_include_pad: bool = True, divisor: int | None = None
) -> Array:
    back = np.zeros(shape)
    for n, c, row, column in outputs(shape, g):
        pixels = g.pixels(shape, row, column)
        rows = [r for r in g.window(row) if r < shape[2] + g.padding]  # a window that hangs over is cut at the padding's end
        columns = [s for s in g.window(column) if s < shape[3] + g.padding]
        padded = len(rows) * len(columns)
        for pixel in pixels:
            back[(n, c, *pixel)] += value[n, c, row, column] / (divisor or (padded if count_include_pad else len(pixels)))
    return back


def lp_unpool(value: Array, x: Array, y: Array, g: Geometry) -> Array:
    back = np.zeros(x.shape)
    for n, c, row, column in outputs(x.shape, g):
        for pixel in g.pixels(x.shape, row, column):
            if y[n, c, row, column] != 0:
                back[(n, c, *pixel)] += value[n, c, row, column] * x[(n, c, *pixel)] / y[n, c, row, column]
    return back


def response_norm(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    y = np.zeros(x.shape)
    for n, c, row, column in np.ndindex(*x.shape):
        neighbours = range(max(0, c - size // 2), min(x.shape[1], c + (size - 1) // 2 + 1))
        energy = sum(x[n, j, row, column] ** 2 for j in neighbours)
        y[n, c, row, column] = x[n, c, row, column] / (k + alpha / size * energy) ** beta
    return y


def linear_transpose(value: Array, weight: Array, bias: Array) -> Array:
    """The reverse (v - b) W of y = W x + b."""
    back = np.zeros((value.shape[0], weight.shape[1]))
    for n, i, j in np.ndindex(value.shape[0], *weight.shape):
        back[n, j] += (value[n, i] - bias[i]) * weight[i, j]
    return back
