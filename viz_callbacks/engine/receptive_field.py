"""Receptive fields, and projections that stay inside them.

A unit at place p of a layer's maps sees the rows from j p + o to j p + o + r - 1 of the images, likewise the columns. With a
layer's kernel k (dilated: k = dilation (size - 1) + 1), stride s and padding a, walked from the layer back to the images,

    r' = (r - 1) s + k        j' = j s        o' = o s - a        from r = j = 1 and o = 0.

The projection of a single activation is 0 outside of this field, so it's enough to walk back a window that grows by the same
rule: the same picture as ``deconvolution`` with ``strongest_activation``, and much less work. Places of a window that lie
outside of a layer's maps don't exist; they are kept at 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.reverse import FEW_CHANNELS, Step, interleaved, padding_of, reverse_of, walk_back

POINTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.LocalResponseNorm, nn.BatchNorm2d, nn.SyncBatchNorm,
    nn.Dropout, nn.Dropout2d, nn.Identity,
)  # fmt: skip
MEMORY_LIMIT = 1 << 30  # bytes

Places = tuple[Tensor, Tensor]  # the first row and the first column of each window, (B,) of int64
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


@dataclass(frozen=True)
class Units:
    """Single units of one layer: for each its image, map, row and column, all (B,) of int64 on the device of the maps."""

    images: Tensor
    maps: Tensor
    rows: Tensor
    columns: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> "Units":
        """Some of them."""
        return Units(*(each[start:stop] for each in (self.images, self.maps, self.rows, self.columns)))

    def to(self, device: torch.device) -> "Units":
        """The same on another device."""
        return Units(*(each.to(device) for each in (self.images, self.maps, self.rows, self.columns)))


def strongest_units(maps: Tensor) -> Units:
    """The strongest unit of each map in each image, image by image: N x C of them, for maps (N, C, H, W).

    Of equally strong ones it's the first in row-major order.
    """
    images, channels, _, width = maps.shape
    places = maps.flatten(2).argmax(2).flatten()
    return Units(
        torch.arange(images, device=maps.device).repeat_interleave(channels),
        torch.arange(channels, device=maps.device).repeat(images),
        places // width,
        places % width,
    )


def receptive_field(steps: Sequence[Step]) -> ReceptiveField:
    """The receptive field of the units of the last step. Raises ValueError for a layer without windows of one size."""
    size, stride, start = [1, 1], [1, 1], [0, 0]
    for step in reversed(steps):
        window = window_of(step)
        for axis in range(2):
            size[axis] = (size[axis] - 1) * window.stride[axis] + window.kernel[axis]
            start[axis] = start[axis] * window.stride[axis] - window.padding[axis]
            stride[axis] *= window.stride[axis]
    return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (start[0], start[1]))


def window_of(step: Step) -> Window:
    """The windows of a step's layer. Raises ValueError where they aren't all of one size: adaptive pools, dense layers."""
    layer = step.layer
    if isinstance(layer, POINTWISE):
        return Window((1, 1), (1, 1), (0, 0))
    if isinstance(layer, nn.Conv2d):
        (top, _), (left, _) = padding_of(layer)
        kernel = [dilation * (size - 1) + 1 for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True)]
        return Window((kernel[0], kernel[1]), (layer.stride[0], layer.stride[1]), (top, left))
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d | nn.LPPool2d):
        size, stride = _pair(layer.kernel_size), _pair(layer.stride or layer.kernel_size)
        padding, dilation = _pair(getattr(layer, "padding", 0)), _pair(getattr(layer, "dilation", 1))
        return Window((dilation[0] * (size[0] - 1) + 1, dilation[1] * (size[1] - 1) + 1), stride, padding)
    raise ValueError(f"The layer {step.name!r}, a {type(layer).__name__}, has no windows of one size, so no receptive field.")


def project_units(steps: Sequence[Step], units: Units, memory_limit: int = MEMORY_LIMIT) -> Tensor:
    """Project single activations, each inside its receptive field: (B, 3, h, w) for B units and fields of h x w pixels.

    ``steps`` end at the units' layer (``steps_to``). ``receptive_field(steps).box`` says where in the image each picture lies;
    what lies outside of the image is 0. Units go together in batches whose largest tensors need at most ``memory_limit``
    bytes. Zeiler and Fergus, ECCV 2014, section 2.1. Raises ValueError as ``window_of`` does.
    """
    field = receptive_field(steps)
    size = _batch_size(steps, memory_limit)
    windowed = all(isinstance(step.layer, (nn.Conv2d, nn.MaxPool2d, *POINTWISE)) for step in steps)
    project = _project_windows if windowed else _project_whole
    with torch.no_grad(), torch.autocast(steps[-1].output.device.type, enabled=False):
        parts = [project(steps, units.part(start, start + size), field) for start in range(0, len(units), size)]
    return torch.cat(parts) if parts else steps[0].input.new_zeros(0, steps[0].input.shape[1], *field.size)


def _batch_size(steps: Sequence[Step], memory_limit: int) -> int:
    """How many units fit, by the largest window and three tensors of its size."""
    largest, size = 1, [1, 1]
    for step in reversed(steps):
        window = window_of(step)
        size = [(size[axis] - 1) * window.stride[axis] + window.kernel[axis] for axis in range(2)]
        largest = max(largest, step.input.shape[1] * size[0] * size[1])
    return max(1, memory_limit // (3 * largest * steps[0].input.element_size()))


def _project_windows(steps: Sequence[Step], units: Units, field: ReceptiveField) -> Tensor:
    strengths = steps[-1].output[units.images, units.maps, units.rows, units.columns]
    value = strengths.new_zeros(len(units), steps[-1].output.shape[1], 1, 1)
    value[torch.arange(len(units)), units.maps, 0, 0] = strengths
    places = (units.rows, units.columns)
    for step in reversed(steps):
        value, places = _window_back(step, value, units.images, places)
    return value


def _window_back(step: Step, value: Tensor, images: Tensor, places: Places) -> tuple[Tensor, Places]:
    """One step back: windows (B, C, h, w), first row and column at ``places``, to those at the input and their places."""
    layer = step.layer
    if isinstance(layer, POINTWISE):
        return reverse_of(step)(step, value), places
    window = window_of(step)
    below = (places[0] * window.stride[0] - window.padding[0], places[1] * window.stride[1] - window.padding[1])
    if isinstance(layer, nn.Conv2d):
        back = _transposed(layer, value)
        padded = any(before or after for before, after in padding_of(layer))
        return _only_inside(back, below, step.input.shape[2:]) if padded else back, below
    return _unpool_windows(step, value, window, images, places), below


def _transposed(layer: nn.Conv2d, value: Tensor) -> Tensor:
    """Convolve with the transposed filters, without bias and padding, in whichever of three equal ways is fastest."""
    if layer.groups > 1 or layer.dilation != (1, 1):
        return F.conv_transpose2d(value, layer.weight, None, layer.stride, 0, 0, layer.groups, layer.dilation)
    if value.shape[2:] == (1, 1):  # a single place: a sum of filters
        return (value.flatten(1) @ layer.weight.flatten(1)).view(-1, *layer.weight.shape[1:])
    if layer.in_channels < FEW_CHANNELS:
        return interleaved(layer, value)
    return F.conv_transpose2d(value, layer.weight, None, layer.stride)


def _only_inside(value: Tensor, places: Places, shape: Sequence[int]) -> Tensor:
    """Set to 0, in place, what lies outside of the maps."""
    rows, columns = _span(places[0], value.shape[2]), _span(places[1], value.shape[3])
    rows_inside, columns_inside = (rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1])
    return value.mul_(rows_inside[:, None, :, None] & columns_inside[:, None, None, :])


def _span(first: Tensor, length: int) -> Tensor:
    """The rows, or columns, of windows that begin at these: (B,) to (B, length)."""
    return first[:, None] + torch.arange(length, device=first.device)


def _unpool_windows(step: Step, value: Tensor, window: Window, images: Tensor, places: Places) -> Tensor:
    """Put each value of the windows where its maximum came from. Values outside of the maps are 0 and may go anywhere."""
    maps, height, width = value.shape[1:]
    size = [(height - 1) * window.stride[0] + window.kernel[0], (width - 1) * window.stride[1] + window.kernel[1]]
    rows = _span(places[0], height).clamp(0, step.output.shape[2] - 1)
    columns = _span(places[1], width).clamp(0, step.output.shape[3] - 1)
    all_maps = torch.arange(maps, device=value.device)[:, None, None]
    place = _places_in_windows(step, window, size[1])[
        images[:, None, None, None], all_maps, rows[:, None, :, None], columns[:, None, None, :]
    ]
    first_rows = torch.arange(height, device=value.device) * window.stride[0]
    place += first_rows[:, None] * size[1] + torch.arange(width, device=value.device) * window.stride[1]
    back = value.new_zeros(len(value), maps, size[0] * size[1])
    return back.scatter_add_(2, place.flatten(2), value.flatten(2)).view(len(value), maps, *size)


def _places_in_windows(step: Step, window: Window, row_length: int) -> Tensor:
    """Where each maximum lay within its own pooling window, as a place in rows of this length; shaped like the switches."""
    assert step.switches is not None
    first_row, first_column = (
        torch.arange(length, device=step.switches.device) * stride - padding
        for length, stride, padding in zip(step.output.shape[2:], window.stride, window.padding, strict=True)
    )
    width = step.input.shape[3]
    return (step.switches // width - first_row[:, None]) * row_length + step.switches % width - first_column


def _project_whole(steps: Sequence[Step], units: Units, field: ReceptiveField) -> Tensor:
    """The plain way, for pools that share their values out: whole maps, then the field cut out."""
    wholes = zip(_whole_projections(steps, units), units.rows.tolist(), units.columns.tolist(), strict=True)
    return torch.stack([field.cut(whole, row, column) for whole, row, column in wholes])


def _whole_projections(steps: Sequence[Step], units: Units) -> Iterator[Tensor]:
    for number in range(len(units)):
        image, k, row, column = (int(each[number]) for each in (units.images, units.maps, units.rows, units.columns))
        own = [
            Step(step.name, step.layer, step.input[image : image + 1], step.output[image : image + 1],
                 None if step.switches is None else step.switches[image : image + 1])
            for step in steps
        ]  # fmt: skip
        start = torch.zeros_like(own[-1].output)
        start[0, k, row, column] = own[-1].output[0, k, row, column]
        yield walk_back(own, start)[0]


def _pair(size: int | tuple[int, ...] | None) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    first, second = cast(tuple[int, int], size)
    return first, second
