"""Callbacks that look at fixed probe images after each epoch: Deconvolution of each layer, and DeNet."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from viz_callbacks.callbacks.base import Picture, PictureCallback
from viz_callbacks.drawing.pixels import Pixels
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.layer_trace import LayerTrace


@dataclass(frozen=True)
class Probes:
    """The fixed images that are looked at.

    names: one for each image, such as ``Faces/image_0001.jpg``. images: (P, 3, H, W) as the network takes them. pictures:
    (P, 3, H, W) uint8 as people see them. targets: (P,) true classes. class_names: of all classes. notes: words about each
    image for the captions, such as the part of the data that it belongs to. masks: (P, H, W) bool, true on the object, false
    everywhere where it is not known; None where none is.
    """

    names: list[str]
    images: Tensor
    pictures: Tensor
    targets: Tensor
    class_names: list[str]
    notes: list[str]
    masks: Tensor | None = None

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
    def pictures(self, traces: list[LayerTrace], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """The pictures of one epoch from the recorded forward pass of all probes."""

    def make(self, network: nn.Module, epoch: int) -> Iterator[Picture]:
        """Run the probes through the network and look at them."""
        images = self.probes.images.to(next(network.parameters()))  # its device and its kind of numbers
        return self.pictures(record(network, images), network, epoch)

    def heading(self, traces: list[LayerTrace], number: int, epoch: int, what: str) -> list[str]:
        """Two lines for the sheet of a probe: what it shows, and what the network takes the image for."""
        share, predicted = traces[-1].output[number].float().softmax(0).max(0)
        names = self.probes.class_names
        return [
            f"{what}, epoch {epoch}",
            f"{self.probes.names[number]} ({self.probes.notes[number]}): is {names[int(self.probes.targets[number])]}, "
            f"taken for {names[int(predicted)]} with {float(share):.0%}",
        ]
