"""Receptive fields: what of the images a unit of a layer depends on.

A unit in row p of a layer's maps sees the rows from j p + o to j p + o + r - 1 of the images, likewise the columns. With a
layer's kernel k (dilated: k = dilation (size - 1) + 1), stride s and padding a, walked from the layer back to the images,

    r' = (r - 1) s + k        j' = j s        o' = o s - a        from r = j = 1 and o = 0.

Where branches come together, a unit sees what it sees through any of them. Through a gate it sees nothing: gates are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from viz_callbacks.engine.function_layers import PlaceByPlace, Product
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import has_own_forward, known_kind, what_is_known
from viz_callbacks.engine.windows import Window

Part = tuple[slice, slice]  # rows and columns


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
    >>> from torch import nn
    >>> from viz_callbacks.engine.forward import record
    >>> traces = record(nn.Sequential(nn.Conv2d(3, 4, 11, stride=4), nn.MaxPool2d(3, 2)), torch.randn(1, 3, 67, 67))
    >>> receptive_field(traces)
    ReceptiveField(size=(19, 19), stride=(8, 8), start=(0, 0))

    Raises:
        ValueError: a layer has no windows of one size, or branches of different strides come together.
    """
    fields = {traces[-1].name: ReceptiveField((1, 1), (1, 1), (0, 0))}  # of the last trace's units in layers' outputs, by name
    for trace in reversed(traces):
        if trace.name not in fields:
            continue
        field = _through(fields.pop(trace.name), window_of(trace))
        for source in _seen(trace):
            fields[source] = _together(fields[source], field, trace) if source in fields else field
    return fields[traces[0].sources[0]]


def window_of(trace: LayerTrace) -> Window:
    """Return the windows of a trace's layer.

    Raises:
        ValueError: they aren't all of one size, as in adaptive pools and dense layers.
    """
    known, kind = what_is_known(trace.layer), known_kind(trace.layer)
    its_own = known.own_forward is not None and kind is not None and has_own_forward(trace.layer, kind)
    spreads = isinstance(trace.layer, PlaceByPlace) and trace.input.shape[2:] != trace.output.shape[2:]
    if known.window is None or its_own or spreads:  # a forward of its own may pad in its own way
        raise ValueError(
            f"The layer {trace.name!r}, a {type(trace.layer).__name__}, has no windows of one size, so no receptive field."
            + (" If its own forward leaves them as they were, register it with a window." if its_own else "")
        )
    return known.window(trace.layer)


def _seen(trace: LayerTrace) -> tuple[str, ...]:
    """Return the sources through which a layer's units see the images."""
    return (trace.sources[1 - trace.layer.gate],) if isinstance(trace.layer, Product) else trace.sources


def _through(field: ReceptiveField, window: Window) -> ReceptiveField:
    """Return what units that have this field in a layer's output see of its input."""
    (rows, columns), (down, right), (top, left) = field.size, field.stride, field.start
    (height, width), (row_stride, column_stride) = window.kernel, window.stride
    return ReceptiveField(
        ((rows - 1) * row_stride + height, (columns - 1) * column_stride + width),
        (down * row_stride, right * column_stride),
        (top * row_stride - window.padding[0], left * column_stride - window.padding[1]),
    )


def _together(one: ReceptiveField, other: ReceptiveField, trace: LayerTrace) -> ReceptiveField:
    """Return the smallest field around two."""
    if one.stride != other.stride:
        raise ValueError(f"Branches of different strides meet before {trace.name!r}, so its units have no receptive field.")
    (top, left), (bottom, right) = one.box(0, 0)[:2], one.box(0, 0)[2:]
    other_top, other_left, other_bottom, other_right = other.box(0, 0)
    start = min(top, other_top), min(left, other_left)
    size = max(bottom, other_bottom) - start[0], max(right, other_right) - start[1]
    return ReceptiveField(size, one.stride, start)
