"""A callback for the one picture to open first: every probe through all layers, at one glance."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from viz_callbacks.callbacks.picture_folder import Picture
from viz_callbacks.callbacks.probes import ProbePictures, Probes
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import Pixels, magnify, signed_picture


class OverviewPictures(ProbePictures):
    """All probes in one picture, a row each: the image, Deconvolution of every convolution layer, DeNet of the true class.

    DeNet comes as the report has it and with the biases of dense layers left alone. Each tile is on its own scale. One picture
    for all probes: ``all/epoch-001.jpg``. A network without classes has no DeNet.

    Args:
        folder: as for ``PictureCallback``.
        probes: the images to look at.
        layers: names of convolution layers; None for all.
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
        every_n_epochs: int = 1,
        fixed_scale: bool = False,
        network: str = "network",
    ) -> None:
        super().__init__(folder, probes, every_n_epochs=every_n_epochs, fixed_scale=fixed_scale, network=network)
        self.layers = layers

    def draw(self, snapshot: ProbeSnapshot, epoch: int) -> Iterator[Picture]:
        """Yield one picture for all probes."""
        projections = {layer: snapshot.deconvolution(layer) for layer in self.layers or snapshot.layers}
        then = ""
        if snapshot.has_classes:
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
