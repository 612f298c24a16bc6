"""Callbacks that look at fixed probe images after each epoch: Deconvolution of each layer, and DeNet."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from viz_callbacks import figures, sheets
from viz_callbacks.deconvolution import convolution_layers, deconvolution, feature_maps
from viz_callbacks.denet import denet
from viz_callbacks.figures import Pixels
from viz_callbacks.pictures import Picture, PictureCallback
from viz_callbacks.reverse import Step, record


@dataclass(frozen=True)
class Probes:
    """The fixed images that are looked at.

    names: one for each image, such as ``Faces/image_0001.jpg``. images: (P, 3, H, W) as the network takes them. pictures:
    (P, 3, H, W) uint8 as people see them. targets: (P,) true classes. class_names: of all classes. notes: words about each
    image for the captions, such as the part of the data that it belongs to. outlines: (P, H, W) bool, true on the object, false
    everywhere where it is not known; None where none is.
    """

    names: list[str]
    images: Tensor
    pictures: Tensor
    targets: Tensor
    class_names: list[str]
    notes: list[str]
    outlines: Tensor | None = None

    def folder(self, number: int) -> str:
        """The name of a probe's folder and of its key in W&B: Faces-image_0001."""
        return self.names[number].rsplit(".", 1)[0].replace("/", "-")

    def original(self, number: int) -> Pixels:
        """The image as people see it, (H, W, 3)."""
        pixels: Pixels = self.pictures[number].permute(1, 2, 0).cpu().numpy()
        return pixels


class ProbePictures(PictureCallback):
    """Pictures of fixed images. ``probes``: the images to look at; the rest as ``PictureCallback``."""

    def __init__(self, folder: Path, probes: Probes, **when: Any) -> None:
        super().__init__(folder, **when)
        self.probes = probes

    @abstractmethod
    def pictures(self, steps: list[Step], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """The pictures of one epoch from the recorded forward pass of all probes."""

    def make(self, network: nn.Module, epoch: int) -> Iterator[Picture]:
        """Run the probes through the network and look at them."""
        images = self.probes.images.to(next(network.parameters()))  # its device and its kind of numbers
        return self.pictures(record(network, images), network, epoch)

    def heading(self, steps: list[Step], number: int, epoch: int, what: str) -> list[str]:
        """Two lines for the sheet of a probe: what it shows, and what the network takes the image for."""
        share, predicted = steps[-1].output[number].float().softmax(0).max(0)
        names = self.probes.class_names
        return [
            f"{what}, epoch {epoch}",
            f"{self.probes.names[number]} ({self.probes.notes[number]}): is {names[int(self.probes.targets[number])]}, "
            f"taken for {names[int(predicted)]} with {float(share):.0%}",
        ]


class DeconvolutionPictures(ProbePictures):
    """Per probe and convolution layer: the first ``maps`` feature maps, and all maps projected to the pixels.

    The report's Figures 10 and 11; the method is Zeiler and Fergus 2014, section 2.1.
    """

    name = "deconvolution"

    def __init__(self, folder: Path, probes: Probes, maps: int = 100, **when: Any) -> None:
        super().__init__(folder, probes, **when)
        self.maps = maps

    def pictures(self, steps: list[Step], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """One picture for each layer and probe."""
        for layer in convolution_layers(network):
            maps = feature_maps(steps, layer)
            shown = maps[:, : self.maps]
            dead = figures.dead_maps(shown)
            projections = deconvolution(steps, layer)
            for number in range(len(self.probes.names)):
                yield self._picture(steps, layer, number, epoch, maps.shape[1], shown[number], dead, projections[number])

    def _picture(
        self,
        steps: list[Step],
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
        pixels = figures.signed_picture(projection, ranges["projection"])
        silent = figures.silent_maps(shown)
        lines = self.heading(steps, number, epoch, f"Deconvolution of {layer}")
        lines += [
            f"maps 1 to {len(shown)} of {count}: grey is 0, white {ranges['maps']:.3g}; "
            f"{sum(dead)} dead (on all probes), {sum(silent) - sum(dead)} silent (on this one)",
            f"projection of all {count} maps: grey is 0, white {ranges['projection']:.3g}, black {-ranges['projection']:.3g}",
        ]
        return Picture(
            place,
            sheets.deconvolution_sheet(lines, self.probes.original(number), shown, ranges["maps"], dead, pixels),
            "\n".join(lines),
            {"maps": figures.map_sprite(shown, ranges["maps"]), "projection": pixels},
            ranges,
            {"maps": {"first": 1, "shown": len(shown), "of": count, "columns": 10, "side": shown.shape[-1]},
             "dead": [k + 1 for k, is_dead in enumerate(dead) if is_dead],
             "silent": [k + 1 for k, is_silent in enumerate(silent) if is_silent]},
        )  # fmt: skip


class DeNetPictures(ProbePictures):
    """Per probe: DeNet for the true and for the predicted class, beside Deconvolution of the last convolution layer.

    The report's Figures 12 and 13; the method is its section 7.
    """

    name = "denet"

    def pictures(self, steps: list[Step], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """One picture for each probe."""
        last = convolution_layers(network)[-1]
        predicted = steps[-1].output.argmax(1)
        targets = self.probes.targets.to(predicted.device)
        projections = {
            f"Deconvolution of {last}": deconvolution(steps, last),
            "DeNet, true class": denet(steps, targets),
            "DeNet, predicted class": denet(steps, predicted),
        }
        for number in range(len(self.probes.names)):
            place = self.probes.folder(number)
            values = {name: batch[number] for name, batch in projections.items()}
            ranges = {name: self.range(f"{place}/{name}", value) for name, value in values.items()}
            tiles = {name: figures.signed_picture(value, ranges[name]) for name, value in values.items()}
            lines = self.heading(steps, number, epoch, "DeNet beside Deconvolution")
            lines.append("grey is 0, white " + "; ".join(f"{range_:.3g} ({name})" for name, range_ in ranges.items()))
            sheet = sheets.row_sheet(lines, [("image", self.probes.original(number)), *tiles.items()])
            sprites = {name.lower().replace(",", "").replace(" ", "-"): tile for name, tile in tiles.items()}
            yield Picture(place, sheet, "\n".join(lines), sprites, ranges, {})
