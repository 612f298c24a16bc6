"""Receptive fields, and projections that stay inside them.

A unit at place p of a layer's maps sees the rows from j p + o to j p + o + r - 1 of the images, likewise the columns. With a
layer's kernel k (dilated: k = dilation (size - 1) + 1), stride s and padding a, walked from the layer back to the images,

    r' = (r - 1) s + k        j' = j s        o' = o s - a        from r = j = 1 and o = 0.

The projection of a single activation is 0 outside of this field, so it's enough to walk back a window that grows by the same
rule: the same picture as ``deconvolution`` with ``strongest_activation``, and much less work. Places of a window that lie
outside of a layer's maps don't exist; they are kept at 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from viz_callbacks.engine.backward import conv_padding
from viz_callbacks.engine.layer_trace import LayerTrace

POINTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.LocalResponseNorm, nn.BatchNorm2d, nn.SyncBatchNorm,
    nn.Dropout, nn.Dropout2d, nn.Identity,
)  # fmt: skip

Part = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Window:
    """How a layer's windows lie on its input, rows first: dilated kernel, stride and padding before the first row or column."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class ReceptiveField:
    """What the units of a layer see of the images: ``size``, ``stride`` from unit to unit, ``start`` of the first, rows first.

    In pixels. The start is negative where padding lets the first unit look out of the image.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int]

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right (both exclusive) of what a unit sees; may reach out of the image."""
        top, left = self.start[0] + row * self.stride[0], self.start[1] + column * self.stride[1]
        return top, left, top + self.size[0], left + self.size[1]

    def inside(self, row: int, column: int, height: int, width: int) -> tuple[Part, Part]:
        """The part of a unit's box that lies in an image of this size: as rows and columns of the image, and of the box."""
        top, left, bottom, right = self.box(row, column)
        rows, columns = (max(0, top), min(height, bottom)), (max(0, left), min(width, right))
        if rows[0] >= rows[1] or columns[0] >= columns[1]:  # padding lets the unit see nothing of the image
            return (slice(0), slice(0)), (slice(0), slice(0))
        of_box = slice(rows[0] - top, rows[1] - top), slice(columns[0] - left, columns[1] - left)
        return (slice(*rows), slice(*columns)), of_box

    def cut(self, image: Tensor, row: int, column: int) -> Tensor:
        """What a unit sees of an image (C, H, W): (C, *size), and 0 where the box reaches out of the image."""
        of_image, of_box = self.inside(row, column, *image.shape[1:])
        piece = image.new_zeros(len(image), *self.size)
        piece[:, *of_box] = image[:, *of_image]
        return piece


def receptive_field(traces: Sequence[LayerTrace]) -> ReceptiveField:
    """The receptive field of the units of the last trace. Raises ValueError for a layer without windows of one size."""
    size, stride, start = [1, 1], [1, 1], [0, 0]
    for trace in reversed(traces):
        window = window_of(trace)
        for axis in range(2):
            size[axis] = (size[axis] - 1) * window.stride[axis] + window.kernel[axis]
            start[axis] = start[axis] * window.stride[axis] - window.padding[axis]
            stride[axis] *= window.stride[axis]
    return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (start[0], start[1]))


def window_of(trace: LayerTrace) -> Window:
    """The windows of a trace's layer. Raises ValueError where they aren't all of one size: adaptive pools, dense layers."""
    layer = trace.layer
    if isinstance(layer, POINTWISE):
        return Window((1, 1), (1, 1), (0, 0))
    if isinstance(layer, nn.Conv2d):
        (top, _), (left, _) = conv_padding(layer)
        kernel = [dilation * (size - 1) + 1 for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True)]
        return Window((kernel[0], kernel[1]), (layer.stride[0], layer.stride[1]), (top, left))
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d | nn.LPPool2d):
        size, stride = _pair(layer.kernel_size), _pair(layer.stride or layer.kernel_size)
        padding, dilation = _pair(getattr(layer, "padding", 0)), _pair(getattr(layer, "dilation", 1))
        return Window((dilation[0] * (size[0] - 1) + 1, dilation[1] * (size[1] - 1) + 1), stride, padding)
    raise ValueError(f"The layer {trace.name!r}, a {type(layer).__name__}, has no windows of one size, so no receptive field.")


def _pair(size: int | tuple[int, ...] | None) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    first, second = cast(tuple[int, int], size)
    return first, second
