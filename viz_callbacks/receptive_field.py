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

from viz_callbacks.reverse import Step, padding_of, reverse_of, walk_back

POINTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.LocalResponseNorm, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d, nn.Identity
)  # fmt: skip
MEMORY_LIMIT = 1 << 30  # bytes

Places = tuple[Tensor, Tensor]  # the first row and the first column of each window, (B,) of int64


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
        back = F.conv_transpose2d(value, layer.weight, None, layer.stride, 0, 0, layer.groups, layer.dilation)
        return _only_inside(back, below, step.input.shape[2:]), below
    return _unpool_windows(step, value, window, images, places, below), below


def _only_inside(value: Tensor, places: Places, shape: Sequence[int]) -> Tensor:
    """Set to 0 what lies outside of the maps."""
    for axis, (first, length) in enumerate(zip(places, shape, strict=True)):
        place = first[:, None] + torch.arange(value.shape[2 + axis], device=value.device)
        inside = ((place >= 0) & (place < length)).to(value.dtype)
        value = value * (inside[:, None, :, None] if axis == 0 else inside[:, None, None, :])
    return value


def _unpool_windows(step: Step, value: Tensor, window: Window, images: Tensor, places: Places, below: Places) -> Tensor:
    """Put each value of the windows where its maximum came from."""
    assert step.switches is not None
    count, channels, height, width = value.shape
    rows = places[0][:, None] + torch.arange(height, device=value.device)
    columns = places[1][:, None] + torch.arange(width, device=value.device)
    outside = _out_of(rows, step.output.shape[2])[:, :, None] | _out_of(columns, step.output.shape[3])[:, None, :]
    rows, columns = rows.clamp(0, step.output.shape[2] - 1), columns.clamp(0, step.output.shape[3] - 1)
    switches = step.switches[images[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    size = [(height - 1) * window.stride[0] + window.kernel[0], (width - 1) * window.stride[1] + window.kernel[1]]
    row = switches // step.input.shape[3] - below[0][:, None, None, None]
    column = switches % step.input.shape[3] - below[1][:, None, None, None]
    place = (row * size[1] + column).masked_fill(outside[:, None], 0)
    value = value.masked_fill(outside[:, None], 0)
    back = value.new_zeros(count, channels, size[0] * size[1])
    return back.scatter_add_(2, place.flatten(2), value.flatten(2)).view(count, channels, *size)


def _out_of(places: Tensor, length: int) -> Tensor:
    return (places < 0) | (places >= length)


def _project_whole(steps: Sequence[Step], units: Units, field: ReceptiveField) -> Tensor:
    """The plain way, for pools that share their values out: whole maps, then the field cut out."""
    parts = list(_whole_projections(steps, units))
    pictures = []
    for picture, row, column in zip(parts, units.rows.tolist(), units.columns.tolist(), strict=True):
        top, left, bottom, right = field.box(row, column)
        height, width = picture.shape[1:]
        padded = F.pad(picture, (max(0, -left), max(0, right - width), max(0, -top), max(0, bottom - height)))
        top, left = max(0, top), max(0, left)
        pictures.append(padded[:, top : top + field.size[0], left : left + field.size[1]])
    return torch.stack(pictures)


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
