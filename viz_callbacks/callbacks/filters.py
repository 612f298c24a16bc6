"""A callback for the first layer's filters after each epoch: Zeiler and Fergus's figure of them, with the dead ones marked."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from torch import nn

from viz_callbacks.callbacks.base import Picture
from viz_callbacks.callbacks.probes import ProbePictures
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import FILTER_COLUMNS, colour_sprite, robust_range, signed_picture
from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.methods.filters import dead_filters, first_filters, root_mean_squares


class FilterPictures(ProbePictures):
    """All filters of the first convolution layer: on one scale, so that one that dominates is seen, and each on its own.

    Of inputs with three or more channels the first three are shown as red, green and blue, else the first one in grey. The
    index holds each filter's root mean square over all channels, and the numbers (from 1) of the dead ones.
    """

    name = "filters"
    sprite_format: ClassVar[dict[str, Any]] = {"lossless": True}  # a lossy WebP keeps one colour for four pixels: too few here

    def pictures(self, traces: list[LayerTrace], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """One picture of the first layer."""
        layer, filters, dead = convolution_layers(network)[0], first_filters(network), dead_filters(traces)
        count, channels, height, width = filters.shape
        shown = filters[:, :3] if channels >= 3 else filters[:, :1].expand(-1, 3, -1, -1)
        range_ = self.range(f"{layer}/one scale", shown)
        one_scale = np.stack([signed_picture(each, range_) for each in shown])
        own_scales = np.stack([signed_picture(each, robust_range(each)) for each in shown])
        sizes = root_mean_squares(filters).tolist()
        dead_sizes = [size for size, is_dead in zip(sizes, dead, strict=True) if is_dead]
        lines = [
            f"Filters of {layer}, epoch {epoch}",
            f"{count} filters of {height} x {width} pixels; root mean square {_span(sizes)}"
            + (f", ratio {max(sizes) / min(sizes):.3g}" if min(sizes) > 0 else ""),
            f"{len(dead_sizes)} dead (on all probes)"
            + (f": framed; root mean square {_span(dead_sizes)}" if dead_sizes else ""),
            f"grey is 0; on one scale white is {range_:.3g}, black {-range_:.3g}",
        ]
        if channels not in (1, 3):
            lines.append(f"shown: {'channels 1 to 3' if channels > 3 else 'channel 1'} of {channels}")
        yield Picture(
            layer,
            sheets.filter_sheet(lines, [("all on one scale", one_scale), ("each on its own scale", own_scales)], dead),
            "\n".join(lines),
            {"one-scale": colour_sprite(one_scale), "own-scales": colour_sprite(own_scales)},
            {"one-scale": range_},
            {
                "filters": {"of": count, "columns": FILTER_COLUMNS, "height": height, "width": width},
                "rms": [float(f"{size:.4g}") if math.isfinite(size) else None for size in sizes],
                "dead": [k + 1 for k, is_dead in enumerate(dead) if is_dead],
            },
        )


def _span(sizes: list[float]) -> str:
    smallest, largest = f"{min(sizes):.3g}", f"{max(sizes):.3g}"
    return smallest if smallest == largest else f"{smallest} to {largest}"
