"""Projections of single activations, each walked back inside its receptive field.

The projection of a single activation is 0 outside of its receptive field, so it's enough to walk back a window that grows by
the same rule as the field: the same picture as ``deconvolution`` with ``strongest_activation``, and much less work. Places of a
window that lie outside of a layer's maps don't exist; they are kept at 0. The plain way, whole maps, stands below; it is used
for networks with branches, and for layers that look at more than the value and their weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.convolution import is_subpixel_faster, padding_of, subpixel_transposed_convolution
from viz_callbacks.engine.layer_trace import LayerTrace, slice_traces
from viz_callbacks.engine.receptive_field import ReceptiveField, receptive_field, window_of
from viz_callbacks.engine.registry import rule_for
from viz_callbacks.engine.rules.activations import as_activation, leaky_rectify, rectify, rectify_if_never_negative
from viz_callbacks.engine.rules.linear import conv_transpose
from viz_callbacks.engine.rules.norms import batch_norm_scale, identity
from viz_callbacks.engine.rules.pools import max_unpool
from viz_callbacks.engine.windows import Window

MEMORY_LIMIT = 1 << 30  # bytes

PLACE_BY_PLACE = {rectify, rectify_if_never_negative, leaky_rectify, as_activation, batch_norm_scale, identity}
"""Rules that do the same at each place, whatever came into the layer there."""

Places = tuple[Tensor, Tensor]  # the first row and the first column of each window, (B,) of int64


@dataclass(frozen=True)
class Units:
    """Single units of one layer, all (B,) of int64 on the device of the maps.

    Attributes:
        images: the number of each unit's image in the batch.
        maps: of its map.
        rows: of its row in the map.
        columns: of its column in the map.
    """

    images: Tensor
    maps: Tensor
    rows: Tensor
    columns: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice) -> "Units":
        return Units(self.images[part], self.maps[part], self.rows[part], self.columns[part])

    def to(self, device: torch.device) -> "Units":
        """Return the same units on another device."""
        return Units(self.images.to(device), self.maps.to(device), self.rows.to(device), self.columns.to(device))


def strongest_units(maps: Tensor) -> Units:
    """Return the strongest unit of each map in each image of ``maps`` (N, C, H, W), image by image: N x C of them.

    Of equally strong ones it's the first in row-major order.

    >>> units = strongest_units(torch.tensor([[[[1.0, 3.0], [2.0, 0.0]]]]))
    >>> units.rows.tolist(), units.columns.tolist()
    ([0], [1])
    """
    images, channels, _, width = maps.shape
    places = maps.flatten(2).argmax(2).flatten()
    return Units(
        torch.arange(images, device=maps.device).repeat_interleave(channels),
        torch.arange(channels, device=maps.device).repeat(images),
        places // width,
        places % width,
    )


def project_units(traces: Sequence[LayerTrace], units: Units, memory_limit: int = MEMORY_LIMIT) -> Tensor:
    """Project single activations, each inside its receptive field. Zeiler and Fergus, ECCV 2014, section 2.1.

    >>> from viz_callbacks.engine.forward import record
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU())
    >>> traces = record(network, torch.randn(2, 3, 20, 20))
    >>> project_units(traces, strongest_units(traces[-1].output)).shape
    torch.Size([12, 3, 10, 10])

    Args:
        traces: up to the units' layer, such as ``trace_up_to`` gives them.
        units: B of them.
        memory_limit: bytes that the largest tensors of a batch of units may need.

    Returns:
        (B, 3, h, w) for receptive fields of h x w pixels and images of three channels. ``receptive_field(traces).box`` says
        where in the image each lies; what lies outside of the image is 0.

    Raises:
        ValueError: a layer has no windows of one size.
        UnknownLayerError: a layer has no backward rule.
    """
    field = receptive_field(traces)
    windowed = is_windowed(traces)
    size = max(1, memory_limit // (_window_bytes(traces) if windowed else _whole_bytes(traces)))
    project = _project_windows if windowed else _project_whole
    with torch.no_grad(), torch.autocast(traces[-1].output.device.type, enabled=False):
        parts = [project(traces, units[start : start + size], field) for start in range(0, len(units), size)]
    return torch.cat(parts) if parts else traces[0].input.new_zeros(0, traces[0].input.shape[1], *field.size)


def is_windowed(traces: Sequence[LayerTrace]) -> bool:
    """Return whether each layer takes the output of the one before it alone, and sees it place by place or by windows."""
    is_list = all(trace.sources == (before.name,) for before, trace in pairwise(traces))
    return is_list and all(rule_for(trace) in PLACE_BY_PLACE | {conv_transpose, max_unpool} for trace in traces)


def _window_bytes(traces: Sequence[LayerTrace]) -> int:
    """Return how much memory a unit takes, by the largest window and three tensors of its size."""
    largest, size = 1, [1, 1]
    for trace in reversed(traces):
        window = window_of(trace)
        size = [(size[axis] - 1) * window.stride[axis] + window.kernel[axis] for axis in range(2)]
        largest = max(largest, trace.input.shape[1] * size[0] * size[1])
    return 3 * largest * traces[0].input.element_size()


def _whole_bytes(traces: Sequence[LayerTrace]) -> int:
    """Return how much memory a unit takes whose image's traces are copied."""
    copied = [each for trace in traces for each in (*trace.inputs, trace.output) if not each.is_meta]
    return sum(each[0].numel() * each.element_size() for each in copied)


def _project_windows(traces: Sequence[LayerTrace], units: Units, field: ReceptiveField) -> Tensor:
    """Project by windows, from one place of one map each to the whole field."""
    strengths = traces[-1].output[units.images, units.maps, units.rows, units.columns]
    value = strengths.new_zeros(len(units), traces[-1].output.shape[1], 1, 1)
    value[torch.arange(len(units)), units.maps, 0, 0] = strengths
    places = (units.rows, units.columns)
    for trace in reversed(traces):
        value, places = _window_back(trace, value, units.images, places)
    return value


def _window_back(trace: LayerTrace, value: Tensor, images: Tensor, places: Places) -> tuple[Tensor, Places]:
    """Walk windows (B, C, h, w) with their first row and column at ``places`` back through one layer."""
    layer, rule = trace.layer, rule_for(trace)
    if rule in PLACE_BY_PLACE:
        return cast(Tensor, rule(trace, value)), places
    window = window_of(trace)
    below = (places[0] * window.stride[0] - window.padding[0], places[1] * window.stride[1] - window.padding[1])
    if isinstance(layer, nn.Conv2d):
        back = _transposed(layer, value)
        padded = any(before or after for before, after in padding_of(layer))
        return _only_inside(back, below, trace.input.shape[2:]) if padded else back, below
    return _unpool_windows(trace, value, window, images, places), below


def _transposed(layer: nn.Conv2d, value: Tensor) -> Tensor:
    """Convolve with the transposed filters, without bias and padding, in whichever of three equal ways is fastest."""
    if value.shape[2:] == (1, 1) and layer.groups == 1 and layer.dilation == (1, 1):  # a single place: a sum of filters
        return (value.flatten(1) @ layer.weight.flatten(1)).view(-1, *layer.weight.shape[1:])
    if is_subpixel_faster(layer):
        return subpixel_transposed_convolution(layer, value)
    return F.conv_transpose2d(value, layer.weight, None, layer.stride, 0, 0, layer.groups, layer.dilation)


def _only_inside(value: Tensor, places: Places, shape: Sequence[int]) -> Tensor:
    """Set to 0, in place, what of the windows lies outside of maps of this shape."""
    rows, columns = _span(places[0], value.shape[2]), _span(places[1], value.shape[3])
    rows_inside, columns_inside = (rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1])
    return value.mul_(rows_inside[:, None, :, None] & columns_inside[:, None, None, :])


def _span(first: Tensor, length: int) -> Tensor:
    """Return the rows, or columns, (B, length) of windows that begin at ``first`` (B,)."""
    return first[:, None] + torch.arange(length, device=first.device)


def _unpool_windows(trace: LayerTrace, value: Tensor, window: Window, images: Tensor, places: Places) -> Tensor:
    """Put each value of the windows where its maximum came from. Values outside of the maps are 0 and may go anywhere."""
    maps, height, width = value.shape[1:]
    size = [(height - 1) * window.stride[0] + window.kernel[0], (width - 1) * window.stride[1] + window.kernel[1]]
    rows = _span(places[0], height).clamp(0, trace.output.shape[2] - 1)
    columns = _span(places[1], width).clamp(0, trace.output.shape[3] - 1)
    all_maps = torch.arange(maps, device=value.device)[:, None, None]
    place = _places_in_windows(trace, window, size[1])[
        images[:, None, None, None], all_maps, rows[:, None, :, None], columns[:, None, None, :]
    ]
    first_rows = torch.arange(height, device=value.device) * window.stride[0]
    place += first_rows[:, None] * size[1] + torch.arange(width, device=value.device) * window.stride[1]
    back = value.new_zeros(len(value), maps, size[0] * size[1])
    return back.scatter_add_(2, place.flatten(2), value.flatten(2)).view(len(value), maps, *size)


def _places_in_windows(trace: LayerTrace, window: Window, row_length: int) -> Tensor:
    """Return where each maximum lay within its own pooling window, as an index into rows of this length, like the switches."""
    assert trace.switches is not None
    first_row, first_column = (
        torch.arange(length, device=trace.switches.device) * stride - padding
        for length, stride, padding in zip(trace.output.shape[2:], window.stride, window.padding, strict=True)
    )
    width = trace.input.shape[3]
    return (trace.switches // width - first_row[:, None]) * row_length + trace.switches % width - first_column


# --- The plain way ------------------------------------------------------------------------------------------------------------


def _project_whole(traces: Sequence[LayerTrace], units: Units, field: ReceptiveField) -> Tensor:
    """Project whole maps with one activation each, and cut the fields out."""
    own = slice_traces(traces, units.images)
    places = (torch.arange(len(units), device=units.images.device), units.maps, units.rows, units.columns)
    start = torch.zeros_like(own[-1].output)
    start[places] = own[-1].output[places]
    wholes = zip(backproject(own, start), units.rows.tolist(), units.columns.tolist(), strict=True)
    return torch.stack([field.crop(whole, row, column) for whole, row, column in wholes])
