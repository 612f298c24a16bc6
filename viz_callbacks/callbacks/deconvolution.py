"""A callback for Deconvolution of each layer."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from viz_callbacks.callbacks.picture_folder import Picture
from viz_callbacks.callbacks.probes import ProbePictures, Probes
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import MAP_COLUMNS, grey_levels, map_sprite, signed_picture
from viz_callbacks.engine.feature_maps import dead_maps, silent_maps


class DeconvolutionPictures(ProbePictures):
    """Per probe and convolution layer: its feature maps, and all maps projected to the pixels.

    The report's Figures 10 and 11; the method is Zeiler and Fergus 2014, section 2.1. The sprite holds all maps at native size.

    Args:
        folder: where the pictures go: ``<probe>/<layer>/epoch-001.jpg``.
        probes: the images to look at.
        layers: names of convolution layers; None for all.
        maps: how many feature maps of each layer the sheet shows, at most.
        every_n_epochs: as for ``PeriodicCallback``.
        fixed_scale: as for ``PictureCallback``.
        network: as for ``PeriodicCallback``.
    """

    name = "deconvolution"
    lossless_sprites = ("maps",)

    def __init__(
        self,
        folder: str | Path,
        probes: Probes,
        *,
        layers: Sequence[str] | None = None,
        maps: int = 100,
        every_n_epochs: int = 1,
        fixed_scale: bool = False,
        network: str = "network",
    ) -> None:
        super().__init__(folder, probes, every_n_epochs=every_n_epochs, fixed_scale=fixed_scale, network=network)
        self.layers = layers
        self.maps = maps

    def draw(self, snapshot: ProbeSnapshot, epoch: int) -> Iterator[Picture]:
        """Yield one picture for each layer and probe."""
        for layer in self.layers or snapshot.layers:
            dead = dead_maps(snapshot.feature_maps(layer))
            for number in range(len(self.probes.names)):
                yield self._picture(snapshot, layer, number, epoch, dead)

    def _picture(self, snapshot: ProbeSnapshot, layer: str, number: int, epoch: int, dead: Sequence[bool]) -> Picture:
        place = f"{self.probes.folder(number)}/{layer}"
        maps, projection = snapshot.feature_maps(layer)[number], snapshot.deconvolution(layer)[number]
        count, shown = len(maps), min(self.maps, len(maps))
        ranges = {
            "maps": self.range(f"{place}/maps", maps[:shown]),
            "projection": self.range(f"{place}/projection", projection),
        }
        silent = silent_maps(maps)
        pixels = signed_picture(projection, ranges["projection"])
        lines = self.heading(snapshot, number, epoch, f"Deconvolution of {layer}")
        lines += [
            f"maps 1 to {shown} of {count}: grey is 0, white {ranges['maps']:.3g}; "
            f"{sum(dead[:shown])} dead (on all probes), {sum(silent[:shown]) - sum(dead[:shown])} more silent (on this one)",
            f"projection of all {count} maps: grey is 0, white {ranges['projection']:.3g}, black {-ranges['projection']:.3g}",
        ]
        return Picture(
            place,
            sheets.deconvolution_sheet(
                lines,
                self.probes.original(number),
                pixels,
                grey_levels(maps[:shown], ranges["maps"]),
                silent[:shown],
                dead[:shown],
            ),
            "\n".join(lines),
            {"maps": map_sprite(maps, ranges["maps"]), "projection": pixels},
            ranges,
            {
                "maps": {"first": 1, "shown": count, "of": count, "columns": MAP_COLUMNS, "side": maps.shape[-1]},
                "dead": [k + 1 for k, is_dead in enumerate(dead) if is_dead],
                "silent": [k + 1 for k, is_silent in enumerate(silent) if is_silent],
            },
        )
