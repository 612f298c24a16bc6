"""A callback for Deconvolution of each layer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from viz_callbacks.callbacks.base import Picture
from viz_callbacks.callbacks.probes import ProbePictures, Probes
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import map_sprite, signed_picture
from viz_callbacks.engine.feature_maps import convolution_layers, dead_maps, feature_maps, silent_maps
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.methods.deconvolution import deconvolution


class DeconvolutionPictures(ProbePictures):
    """Per probe and convolution layer: the first ``maps`` feature maps, and all maps projected to the pixels.

    The report's Figures 10 and 11; the method is Zeiler and Fergus 2014, section 2.1.
    """

    name = "deconvolution"

    def __init__(self, folder: Path, probes: Probes, maps: int = 100, **when: Any) -> None:
        super().__init__(folder, probes, **when)
        self.maps = maps

    def pictures(self, traces: list[LayerTrace], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """One picture for each layer and probe."""
        for layer in convolution_layers(network):
            maps = feature_maps(traces, layer)
            shown = maps[:, : self.maps]
            dead = dead_maps(shown)
            projections = deconvolution(traces, layer)
            for number in range(len(self.probes.names)):
                yield self._picture(traces, layer, number, epoch, maps.shape[1], shown[number], dead, projections[number])

    def _picture(
        self,
        traces: list[LayerTrace],
        layer: str,
        number: int,
        epoch: int,
        count: int,
        shown: Tensor,
        dead: list[bool],
        projection: Tensor,
    ) -> Picture:
        place = f"{self.probes.folder(number)}/{layer}"
        ranges = {
            "maps": self.range(f"{place}/maps", shown),
            "projection": self.range(f"{place}/projection", projection),
        }
        pixels = signed_picture(projection, ranges["projection"])
        silent = silent_maps(shown)
        lines = self.heading(traces, number, epoch, f"Deconvolution of {layer}")
        lines += [
            f"maps 1 to {len(shown)} of {count}: grey is 0, white {ranges['maps']:.3g}; "
            f"{sum(dead)} dead (on all probes), {sum(silent) - sum(dead)} silent (on this one)",
            f"projection of all {count} maps: grey is 0, white {ranges['projection']:.3g}, black {-ranges['projection']:.3g}",
        ]
        return Picture(
            place,
            sheets.deconvolution_sheet(lines, self.probes.original(number), shown, ranges["maps"], dead, pixels),
            "\n".join(lines),
            {"maps": map_sprite(shown, ranges["maps"]), "projection": pixels},
            ranges,
            {"maps": {"first": 1, "shown": len(shown), "of": count, "columns": 10, "side": shown.shape[-1]},
             "dead": [k + 1 for k, is_dead in enumerate(dead) if is_dead],
             "silent": [k + 1 for k, is_silent in enumerate(silent) if is_silent]},
        )  # fmt: skip
