"""Receptive fields: what of the images a unit of a layer depends on.

A unit in row p of a layer's maps sees the rows from j p + o to j p + o + r - 1 of the images, likewise the columns. With a
layer's kernel k (dilated: k = dilation (size - 1) + 1), stride s and padding a, walked from the layer back to the images,

    r' = (r - 1) s + k        j' = j s        o' = o s - a        from r = j = 1 and o = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from viz_callbacks.engine.convolution import padding_of
from viz_callbacks.engine.layer_trace import LayerTrace

POINTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.LocalResponseNorm, nn.BatchNorm2d, nn.SyncBatchNorm,
    nn.Dropout, nn.Dropout2d, nn.Identity,
)  # fmt: skip
"""Layers whose backward rules look at each place by itself."""

Part = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Window:
    """How a layer's windows lie on its input, in rows and columns.

    Attributes:
        kernel: the size, dilated.
        stride: from window to window.
        padding: before the first row and column.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class ReceptiveField:
    """What the units of a layer see of the images, in pixels, rows and columns.

    Attributes:
        size: r.
        stride: j, from unit to unit.
        start: o, of the first unit; negative where padding lets it look out of the image.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int]

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return top, left, bottom and right (both exclusive) of what a unit sees; may reach out of the image."""
        top, left = self.start[0] + row * self.stride[0], self.start[1] + column * self.stride[1]
        return top, left, top + self.size[0], left + self.size[1]

    def inside(self, row: int, column: int, height: int, width: int) -> tuple[Part, Part]:
        """Return what of a unit's box lies in an image of this size: as rows and columns of the image, and of the box."""
        top, left, bottom, right = self.box(row, column)
        rows, columns = (max(0, top), min(height, bottom)), (max(0, left), min(width, right))
        if rows[0] >= rows[1] or columns[0] >= columns[1]:  # padding lets the unit see nothing of the image
            return (slice(0), slice(0)), (slice(0), slice(0))
        of_box = slice(rows[0] - top, rows[1] - top), slice(columns[0] - left, columns[1] - left)
        return (slice(*rows), slice(*columns)), of_box

    def crop(self, image: Tensor, row: int, column: int) -> Tensor:
        """Return what a unit sees of an image (C, H, W): (C, *size), and 0 where the box reaches out of the image."""
        of_image, of_box = self.inside(row, column, *image.shape[1:])
        patch = image.new_zeros(len(image), *self.size)
        patch[:, *of_box] = image[:, *of_image]
        return patch


def receptive_field(traces: Sequence[LayerTrace]) -> ReceptiveField:
    """Return the receptive field of the units of the last trace.

    >>> import torch
    >>> from viz_callbacks.engine.forward import record
    >>> traces = record(nn.Sequential(nn.Conv2d(3, 4, 11, stride=4), nn.MaxPool2d(3, 2)), torch.randn(1, 3, 67, 67))
    >>> receptive_field(traces)
    ReceptiveField(size=(19, 19), stride=(8, 8), start=(0, 0))

    Raises:
        ValueError: a layer has no windows of one size.
    """
    size, stride, start = [1, 1], [1, 1], [0, 0]
    for trace in reversed(traces):
        window = window_of(trace)
        for axis in range(2):
            size[axis] = (size[axis] - 1) * window.stride[axis] + window.kernel[axis]
            start[axis] = start[axis] * window.stride[axis] - window.padding[axis]
            stride[axis] *= window.stride[axis]
    return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (start[0], start[1]))


def window_of(trace: LayerTrace) -> Window:
    """Return the windows of a trace's layer.

    Raises:
        ValueError: they aren't all of one size, as in adaptive pools and dense layers.
    """
    layer = trace.layer
    if isinstance(layer, POINTWISE):
        return Window((1, 1), (1, 1), (0, 0))
    if isinstance(layer, nn.Conv2d):
        (top, _), (left, _) = padding_of(layer)
        return Window(_dilated(_pair(layer.kernel_size), _pair(layer.dilation)), _pair(layer.stride), (top, left))
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d | nn.LPPool2d):
        size, stride = _pair(layer.kernel_size), _pair(layer.stride or layer.kernel_size)
        padding, dilation = _pair(getattr(layer, "padding", 0)), _pair(getattr(layer, "dilation", 1))
        return Window(_dilated(size, dilation), stride, padding)
    raise ValueError(f"The layer {trace.name!r}, a {type(layer).__name__}, has no windows of one size, so no receptive field.")


def _dilated(size: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    return dilation[0] * (size[0] - 1) + 1, dilation[1] * (size[1] - 1) + 1


def _pair(size: int | tuple[int, ...] | None) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    rows, columns = cast(tuple[int, int], size)
    return rows, columns
