"""The probes, and what all callbacks that make pictures of them share."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lightning import Trainer
from torch import Tensor, nn

from viz_callbacks.callbacks.base import PictureCallback
from viz_callbacks.callbacks.picture_folder import Picture
from viz_callbacks.callbacks.snapshot import ProbeSnapshot, SharedSnapshot, SharesSnapshot
from viz_callbacks.drawing.pixels import Pixels, picture_of

LONGEST_FOLDER = 150  # bytes: a file system takes 255, and names get endings


@dataclass(frozen=True, eq=False)
class Probes:
    """The fixed images that are looked at; one object for all callbacks, so that they share the forward pass.

    Attributes:
        names: one for each image, such as ``Faces/image_0001.jpg``.
        images: (P, C, H, W) as the network takes them.
        pictures: (P, C, H, W) uint8 as people see them.
        targets: the true classes, (P,) of int64; -1 where it is not known, and the predicted class stands in for it.
        class_names: of all classes.
        notes: words about each image for the captions, such as the part of the data that it belongs to.
        masks: (P, H, W) of bool, true on the object, false everywhere where it is not known; None where none is.
        shared_snapshot: what the callbacks of a training share, see ``snapshot``.

    Raises:
        ValueError: two images would have pictures of one name, so that one would overwrite the other's.
    """

    names: list[str]
    images: Tensor
    pictures: Tensor
    targets: Tensor
    class_names: list[str]
    notes: list[str]
    masks: Tensor | None = None
    shared_snapshot: SharedSnapshot = field(default_factory=SharedSnapshot, init=False, repr=False)

    def __post_init__(self) -> None:
        folders = [self.folder(number) for number in range(len(self.names))]
        if repeated := [name for name, folder in zip(self.names, folders, strict=True) if folders.count(folder) > 1]:
            raise ValueError(f"{', '.join(repeated)} would have pictures of one name; rename all but one")

    def folder(self, number: int) -> str:
        """Return the name of a probe's folder and of its key in W&B: Faces-image_0001. A long one is cut, and stays unique."""
        name = self.names[number].rsplit(".", 1)[0].replace("/", "-")
        encoded = name.encode(errors="surrogateescape")
        if len(encoded) <= LONGEST_FOLDER:
            return name
        return f"{encoded[: LONGEST_FOLDER - 9].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:8]}"

    def original(self, number: int) -> Pixels:
        """Return the image as people see it, (H, W, 3)."""
        return picture_of(self.pictures[number])

    def snapshot(self, network: nn.Module, trainer: Trainer | None = None) -> ProbeSnapshot:
        """Return what the network makes of the probes: their forward pass and projections, each computed when first asked for.

        Callbacks of a Trainer share one from the end of an epoch to the beginning of the next; without a Trainer it is new.
        """

        def take() -> ProbeSnapshot:
            return ProbeSnapshot(network, self.images, self.targets)

        return take() if trainer is None else self.shared_snapshot.get(trainer, network, take)


class ProbePictures(SharesSnapshot, PictureCallback):
    """A callback that makes pictures of fixed images.

    Args:
        folder: as for ``PictureCallback``.
        probes: the images to look at.
        every_n_epochs: as for ``PeriodicCallback``.
        fixed_scale: as for ``PictureCallback``.
        network: as for ``PeriodicCallback``.
    """

    def __init__(
        self,
        folder: str | Path,
        probes: Probes,
        *,
        every_n_epochs: int = 1,
        fixed_scale: bool = False,
        network: str = "network",
    ) -> None:
        super().__init__(folder, every_n_epochs=every_n_epochs, fixed_scale=fixed_scale, network=network)
        self.probes = probes
        self.shared_snapshot = probes.shared_snapshot

    @abstractmethod
    def draw(self, snapshot: ProbeSnapshot, epoch: int) -> Iterator[Picture]:
        """Yield the pictures of one epoch (from 1) from what the network makes of the probes."""

    def make_pictures(self, network: nn.Module, epoch: int, trainer: Trainer | None = None) -> Iterator[Picture]:
        """Yield the pictures of one epoch (from 1)."""
        return self.draw(self.probes.snapshot(network, trainer), epoch)

    def heading(self, snapshot: ProbeSnapshot, number: int, epoch: int, what: str) -> list[str]:
        """Return two lines for the sheet of a probe: what it shows, and which class the network predicts."""
        return [f"{what}, epoch {epoch}", self.describe(snapshot, number)]

    def describe(self, snapshot: ProbeSnapshot, number: int) -> str:
        """Return a line of words on a probe: its name, its class, and which class the network predicts."""
        note = f" ({self.probes.notes[number]})" if self.probes.notes[number] else ""
        if not snapshot.has_classes:
            return f"{self.probes.names[number]}{note}"
        names, predicted, true = self.probes.class_names, int(snapshot.predicted[number]), int(self.probes.targets[number])
        return (
            f"{self.probes.names[number]}{note}: "
            f"true class {names[true] if true >= 0 else 'unknown, the predicted one stands in for it'}, "
            f"predicted {names[predicted]} with {float(snapshot.confidence[number]):.0%}"
        )
