"""A callback for DeNet."""

from collections.abc import Iterator

from torch import nn

from viz_callbacks.callbacks.base import Picture
from viz_callbacks.callbacks.probes import ProbePictures
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import signed_picture
from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet


class DeNetPictures(ProbePictures):
    """Per probe: DeNet for the true and for the predicted class, beside Deconvolution of the last convolution layer.

    The report's Figures 12 and 13; the method is its section 7.
    """

    name = "denet"

    def pictures(self, traces: list[LayerTrace], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """One picture for each probe."""
        last = convolution_layers(network)[-1]
        predicted = traces[-1].output.argmax(1)
        targets = self.probes.targets.to(predicted.device)
        projections = {
            f"Deconvolution of {last}": deconvolution(traces, last),
            "DeNet, true class": denet(traces, targets),
            "DeNet, predicted class": denet(traces, predicted),
        }
        for number in range(len(self.probes.names)):
            place = self.probes.folder(number)
            values = {name: batch[number] for name, batch in projections.items()}
            ranges = {name: self.range(f"{place}/{name}", value) for name, value in values.items()}
            tiles = {name: signed_picture(value, ranges[name]) for name, value in values.items()}
            lines = self.heading(traces, number, epoch, "DeNet beside Deconvolution")
            lines.append("grey is 0, white " + "; ".join(f"{range_:.3g} ({name})" for name, range_ in ranges.items()))
            sheet = sheets.row_sheet(lines, [("image", self.probes.original(number)), *tiles.items()])
            sprites = {name.lower().replace(",", "").replace(" ", "-"): tile for name, tile in tiles.items()}
            yield Picture(place, sheet, "\n".join(lines), sprites, ranges, {})
