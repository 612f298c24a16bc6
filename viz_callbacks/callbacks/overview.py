"""A callback for the pictures to open first: every probe through all layers, at one glance."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from viz_callbacks.callbacks.picture_folder import Picture
from viz_callbacks.callbacks.probes import ProbePictures, Probes
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import GAP, WHITE, Pixels, colour_grid, grey_levels, magnify, signed_picture, thumbnail
from viz_callbacks.engine.feature_maps import strongest_maps

STRONGEST = 4  # maps of a layer on a probe's own sheet, two by two


class OverviewPictures(ProbePictures):
    """All probes in one picture, a row each: the image, Deconvolution of every convolution layer, DeNet of the true class.

    DeNet comes as the report has it and with the biases of dense layers left alone. Each tile is on its own scale. One picture
    for all probes: ``all/epoch-001.jpg``. With ``own_sheets`` each probe has one by itself too, ``each/<probe>/epoch-001.jpg``,
    with the strongest maps of each layer below its projection. A network without classes has no DeNet,
    nor has one with a layer that has no way back; layers behind that are left out.

    Args:
        folder: as for ``PictureCallback``.
        probes: the images to look at.
        layers: names of convolution layers; None for all.
        own_sheets: make a sheet of each probe too.
        every_n_epochs: as for ``PeriodicCallback``.
        fixed_scale: as for ``PictureCallback``.
        network: as for ``PeriodicCallback``.
    """

    name = "overview"

    def __init__(
        self,
        folder: str | Path,
        probes: Probes,
        *,
        layers: Sequence[str] | None = None,
        own_sheets: bool = False,
        every_n_epochs: int = 1,
        fixed_scale: bool = False,
        network: str = "network",
    ) -> None:
        super().__init__(folder, probes, every_n_epochs=every_n_epochs, fixed_scale=fixed_scale, network=network)
        self.layers = layers
        self.own_sheets = own_sheets

    def draw(self, snapshot: ProbeSnapshot, epoch: int) -> Iterator[Picture]:
        """Yield one picture for all probes, then one for each where that is asked for."""
        projections = {layer: snapshot.deconvolution(layer) for layer in self.layers or snapshot.layers}
        then = ""
        if snapshot.has_denet:
            then = ", then DeNet of the true class"
            projections["DeNet"] = snapshot.denet(snapshot.targets)
            projections["DeNet, no biases"] = snapshot.denet(snapshot.targets, subtract_bias=False)
        rows, ranges = list[tuple[str, list[Pixels]]](), dict[str, float]()
        for number, name in enumerate(self.probes.names):
            tiles = [magnify(self.probes.original(number))]
            for projection_name, projection in projections.items():
                key = f"{name}/{projection_name}"
                ranges[key] = self.range(key, projection[number])
                tiles.append(magnify(signed_picture(projection[number], ranges[key])))
            rows.append((self.describe(snapshot, number), tiles))
        lines = [
            f"Epoch {epoch}: what each layer shows of each image",
            f"Deconvolution of each convolution layer{then}; grey is 0, each tile has its own scale",
        ]
        yield Picture("all", sheets.table_sheet(lines, ["image", *projections], rows), "\n".join(lines), {}, ranges, {})
        for number, (_, tiles) in enumerate(rows if self.own_sheets else ()):
            yield self._own_sheet(snapshot, number, epoch, dict(zip(["image", *projections], tiles, strict=True)))

    def _own_sheet(self, snapshot: ProbeSnapshot, number: int, epoch: int, tiles: dict[str, Pixels]) -> Picture:
        """Draw a probe's own sheet from its tiles by name."""
        name, columns = self.probes.names[number], list[list[tuple[str, Pixels]]]()
        ranges, shown = dict[str, float](), dict[str, list[int]]()
        for title, tile in tiles.items():
            columns.append([(title, tile)])
            if title in snapshot.layers:
                maps = snapshot.feature_maps(title)[number]
                strongest = strongest_maps(maps, STRONGEST)
                ranges[title] = self.range(f"{name}/{title}/maps", maps[strongest])
                shown[title] = [k + 1 for k in strongest]
                columns[-1].append((f"maps {' '.join(map(str, shown[title]))}", _grid(maps[strongest], ranges[title])))
        lines = self.heading(snapshot, number, epoch, "What each layer shows")
        lines.append(f"above Deconvolution of all maps, below the {STRONGEST} strongest of them; grey is 0")
        return Picture(
            f"each/{self.probes.folder(number)}",
            sheets.column_sheet(lines, columns),
            "\n".join(lines),
            {},
            ranges,
            {"strongest": shown},
        )


def _grid(maps: Tensor, range_: float) -> Pixels:
    """Draw maps (K, h, w) as one picture (H, W, 3), two in a row."""
    tiles = [thumbnail(np.repeat(each[..., None], 3, axis=2)) for each in grey_levels(maps, range_)]
    return colour_grid(np.stack(tiles), 2, GAP, fill=WHITE)
