"""A callback for DeNet."""

from collections.abc import Iterator

from viz_callbacks.callbacks.picture_folder import Picture
from viz_callbacks.callbacks.probes import ProbePictures
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import signed_picture


class DeNetPictures(ProbePictures):
    """Per probe: DeNet for the true and for the predicted class, beside Deconvolution of the last convolution layer.

    The report's Figures 12 and 13; the method is its section 7, which subtracts the biases of dense layers. Beside it is shown
    what comes of leaving them alone. A network without classes, or with a layer that has no way back, has none.
    Arguments as for ``ProbePictures``.
    """

    name = "denet"

    def draw(self, snapshot: ProbeSnapshot, epoch: int) -> Iterator[Picture]:
        """Yield one picture for each probe."""
        if not snapshot.has_denet:
            return
        last = snapshot.layers[-1]
        projections = {
            f"Deconvolution of {last}": snapshot.deconvolution(last),
            "DeNet, true class": snapshot.denet(snapshot.targets),
            "DeNet, true class, no biases": snapshot.denet(snapshot.targets, subtract_bias=False),
            "DeNet, predicted class": snapshot.denet(snapshot.predicted),
        }
        for number in range(len(self.probes.names)):
            place = self.probes.folder(number)
            values = {name: batch[number] for name, batch in projections.items()}
            ranges = {name: self.range(f"{place}/{name}", value) for name, value in values.items()}
            tiles = {name: signed_picture(value, ranges[name]) for name, value in values.items()}
            lines = self.heading(snapshot, number, epoch, "DeNet beside Deconvolution")
            lines.append("grey is 0, white " + "; ".join(f"{range_:.3g} ({name})" for name, range_ in ranges.items()))
            sheet = sheets.row_sheet(lines, [("image", self.probes.original(number)), *tiles.items()])
            sprites = {name.lower().replace(",", "").replace(" ", "-"): tile for name, tile in tiles.items()}
            yield Picture(place, sheet, "\n".join(lines), sprites, ranges, {})
