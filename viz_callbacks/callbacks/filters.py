"""A callback for the first layer's filters after each epoch: Zeiler and Fergus's figure of them, with the dead ones marked."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from viz_callbacks.callbacks.picture_folder import Picture
from viz_callbacks.callbacks.probes import ProbePictures
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import FILTER_COLUMNS, filter_sprite, robust_range, shown_channels, signed_picture
from viz_callbacks.methods.filters import dead_filters, first_filters, root_mean_squares


class FilterPictures(ProbePictures):
    """All filters of the first convolution layer: on one scale, so that one that dominates is seen, and each on its own.

    Of inputs with three or more channels the first three are shown as red, green and blue, else the first one in grey. The
    index holds each filter's root mean square over all channels, and the numbers (from 1) of the dead ones. Arguments as for
    ``ProbePictures``; a filter is dead by what the probes show.
    """

    name = "filters"
    lossless_sprites = ("one-scale", "own-scales")

    def draw(self, snapshot: ProbeSnapshot, epoch: int) -> Iterator[Picture]:
        """Yield one picture of the first layer."""
        layer, filters, dead = snapshot.layers[0], first_filters(snapshot.network), dead_filters(snapshot.traces)
        count, channels, height, width = filters.shape
        shown = shown_channels(filters)
        range_ = self.range(f"{layer}/one scale", shown)
        one_scale = np.stack([signed_picture(each, range_) for each in shown])
        own_scales = np.stack([signed_picture(each, robust_range(each)) for each in shown])
        sizes = root_mean_squares(filters).tolist()
        dead_sizes = [size for size, is_dead in zip(sizes, dead, strict=True) if is_dead]
        lines = [
            f"Filters of {layer}, epoch {epoch}",
            f"{count} filters of {height} x {width} pixels; root mean square {_format_span(sizes)}"
            + (f", ratio {max(sizes) / min(sizes):.3g}" if min(sizes) > 0 else ""),
            f"{len(dead_sizes)} dead (on all probes)"
            + (f": framed; root mean square {_format_span(dead_sizes)}" if dead_sizes else ""),
            f"grey is 0; on one scale white is {range_:.3g}, black {-range_:.3g}",
        ]
        if channels not in (1, 3):
            lines.append(f"shown: {'channels 1 to 3' if channels > 3 else 'channel 1'} of {channels}")
        yield Picture(
            layer,
            sheets.filter_sheet(lines, [("all on one scale", one_scale), ("each on its own scale", own_scales)], dead),
            "\n".join(lines),
            {"one-scale": filter_sprite(one_scale), "own-scales": filter_sprite(own_scales)},
            {"one-scale": range_},
            {
                "filters": {"of": count, "columns": FILTER_COLUMNS, "height": height, "width": width},
                "rms": [float(f"{size:.4g}") if math.isfinite(size) else None for size in sizes],
                "dead": [k + 1 for k, is_dead in enumerate(dead) if is_dead],
            },
        )


def _format_span(sizes: Sequence[float]) -> str:
    smallest, largest = f"{min(sizes):.3g}", f"{max(sizes):.3g}"
    return smallest if smallest == largest else f"{smallest} to {largest}"
