"""What every data set here gives to a training: batches, the split, normalisation and default probes."""

import difflib
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from configs import DataSettings, SettingsError
from datamodules import splits
from datamodules.baselines import no_content_features, no_content_floor
from datamodules.cache import NAMED
from datamodules.datasets import Batch, EpochSampler, EvaluationImages, ImageSet, TrainingImages
from datamodules.splits import Indices, Split
from datamodules.transforms import resize

Mask = NDArray[np.bool_]

# Red, green and blue of the training part of Caltech-101 (default split, 256 x 256 pixels, values from 0 to 1).
MEAN = (0.546, 0.529, 0.503)
STD = (0.315, 0.310, 0.322)


class ImageDataModule(LightningDataModule):
    """A data set, split, in batches. A subclass says where the images come from.

    ``image_size`` is the side of the square input in pixels; ``seed`` draws order and augmentation. After ``prepare_data()``
    and ``setup()``, which need no Trainer, there are ``class_names``, ``files``, ``targets`` (N,) and ``split``.
    """

    title: str
    default_probes: Sequence[str]

    class_names: list[str]
    files: list[str]
    targets: Indices
    split: Split

    def __init__(self, settings: DataSettings, image_size: int, seed: int) -> None:
        super().__init__()
        self.settings = settings
        self.image_size = image_size
        self.seed = seed
        self._image_set: ImageSet | None = None

    @abstractmethod
    def read(self) -> ImageSet:
        """Return all images of the data set. Raises SettingsError if they can't be had."""

    @property
    def image_set(self) -> ImageSet:
        """What ``setup()`` has read."""
        if self._image_set is None:
            raise RuntimeError("call prepare_data() and setup() first")
        return self._image_set

    def setup(self, stage: str | None = None) -> None:
        """Read and split the data, once, whatever the ``stage``. Raises SettingsError if that leaves not even one batch."""
        if self._image_set is None:
            images = self._image_set = self.read()
            if images.skipped:
                named = "; ".join(f"{file} ({reason})" for file, reason in islice(images.skipped.items(), NAMED))
                others = f"; and {len(images.skipped) - NAMED} more" if len(images.skipped) > NAMED else ""
                rank_zero_only(print)(f"data.skip_broken: {len(images.skipped)} images are left out: {named}{others}")
            self.class_names, self.files, self.targets = images.class_names, images.files, images.targets
            self.split = splits.split(images.targets, images.groups, images.class_names, self.settings, images.parts)
            found, batch_size = len(self.split.train), self.settings.batch_size
            if found < batch_size:
                raise SettingsError(
                    f"data.batch_size={batch_size}: there are only {found} training images; ask for at most {found}"
                )

    def per_process_batch_size(self, processes: int) -> int:
        """Return how many images of a batch each process takes. Raises SettingsError if so many can't share it evenly."""
        batch_size = self.settings.batch_size
        if batch_size % processes:
            near = max(1, round(batch_size / processes)) * processes
            raise SettingsError(
                f"data.batch_size={batch_size} is the batch of all processes together and {processes} can't share it evenly; "
                f"take a multiple of {processes} such as {near}"
            )
        return batch_size // processes

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of the training part, over all processes together."""
        return len(self.split.train) // self.settings.batch_size

    def train_dataloader(self) -> DataLoader[Batch]:
        """Build the loader of augmented batches: images (N, 3, S, S) uint8 and targets, as ``TrainingImages`` gives them.

        S follows ``train_sizes`` over the epochs.
        """
        rank, world_size = self._rank_and_world_size()
        epochs = 1
        sampler = EpochSampler(self.split.train, self.seed, self.settings.batch_size, rank, world_size)
        if self.trainer is not None:
            # After a resume, the loader starts before Lightning first calls set_epoch, and current_epoch is still one behind.
            progress = self.trainer.fit_loop.epoch_progress.current
            sampler.set_epoch(progress.processed)  # type: ignore[attr-defined]  # Lightning declares its base class, without it
            epochs = self.trainer.max_epochs or 1
        sizes = self.settings.train_sizes or [self.image_size]
        return self._loader(TrainingImages(self.image_set, sizes, epochs, self.settings, self.seed), sampler)

    def val_dataloader(self) -> dict[str, DataLoader[Batch]]:
        """Build loaders ``val`` (unless val_fraction gives none) and ``test``: each image once, over all processes."""
        parts = {"val": self.split.val, "test": self.split.test}
        return {name: self._evaluation_loader(part, self.image_size) for name, part in parts.items() if len(part)}

    def test_dataloader(self) -> dict[str, DataLoader[Batch]]:
        """Build loaders ``train`` and ``test`` for the end of a run: the training images too, as evaluation sees them.

        With ``test_crops`` the test images are 8/7 as large as the input, as 256 is to AlexNet's crops of 224 pixels.
        """
        size = round(self.image_size * 8 / 7) if self.settings.test_crops else self.image_size
        return {
            "train": self._evaluation_loader(self.split.train, self.image_size),
            "test": self._evaluation_loader(self.split.test, size),
        }

    def original_sizes(self) -> Indices:
        """Return (N, 2): width and height of the images as they came, in pixels."""
        height, width, _ = self.image_set.images[0].shape
        return np.full((len(self.files), 2), (width, height))

    def no_content_floor(self) -> dict[str, float]:
        """Return the accuracies that the test part allows without looking at the content, see ``datamodules.baselines``."""
        features = no_content_features(self.image_set.images, self.original_sizes())
        return no_content_floor(features, self.targets, self.split)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device, to which only bytes had to be sent."""
        images, targets = batch
        return self.normalise(images), targets

    def normalise(self, images: Tensor) -> Tensor:
        """Turn (N, 3, S, S) uint8 into float32 of about zero mean and unit variance, channels last in memory."""
        mean, std = _per_channel(images)
        normal = torch.empty(images.shape, device=images.device).contiguous(memory_format=torch.channels_last)
        at_once = 1 if images.device.type == "cpu" else max(1, len(images))  # a single image stays in a processor's cache
        for first in range(0, len(images), at_once):
            part = slice(first, first + at_once)
            normal[part].copy_(images[part].to(torch.float32).sub_(mean).div_(std))
        return normal

    @property
    def grey_levels_per_unit(self) -> float:
        """How many of the 255 grey levels one unit of the network's input is, in the mean over the channels: about 80."""
        return 255 * sum(STD) / len(STD)

    def denormalise(self, images: Tensor) -> Tensor:
        """Invert ``normalise``, rounded and clipped to uint8."""
        mean, std = _per_channel(images)
        return (images * std + mean).round().clamp(0, 255).to(torch.uint8)

    def images(self, indices: Iterable[int]) -> Tensor:
        """Return images by number, (N, 3, S, S) uint8, as evaluation sees them."""
        return torch.stack([resize(self.image_set.images[index], self.image_size) for index in indices])

    def mask(self, index: int) -> Mask | None:
        """Return the mask (S, S) of an image, true on the object; None where that is not known."""
        return None

    def masks(self, indices: Iterable[int]) -> Tensor:
        """Return the masks of images by number, (N, S, S) bool; all false where the object's place is not known."""
        unknown = np.zeros((self.image_size, self.image_size), dtype=np.bool_)
        found = (self.mask(index) for index in indices)
        return torch.from_numpy(np.stack([unknown if mask is None else mask for mask in found]))

    def folder(self) -> Path | None:
        """Return the folder that ``files`` lie below; None where the images are no files."""
        return None

    def find(self, names: Sequence[str]) -> list[int]:
        """Return the numbers of the named images, or of ``default_probes`` for no names.

        A name is a file, such as ``Faces/image_0001.jpg``, the path that leads to it, or a class for its first image.

        Raises:
            SettingsError: where there is no image or class of a name.
        """
        return [self._found(name, self.number(name)) for name in names or self.default_probes]

    def number(self, name: str) -> int | None:
        """Return the number of the image of this name, as for ``find``; None where there is none."""
        if name in self.files:
            return self.files.index(name)
        if name in self.class_names:
            return int((self.targets == self.class_names.index(name)).argmax())
        folder = self.folder()
        if folder is None:
            return None
        below = os.path.relpath(os.path.expanduser(name), folder).replace(os.sep, "/")
        return self.files.index(below) if below in self.files else None

    def _found(self, name: str, number: int | None) -> int:
        if number is not None:
            return number
        near = difflib.get_close_matches(name, [*self.class_names, *self.files], n=1)
        hint = f"did you mean {near[0]}?" if near else f"name a file such as {self.files[0]}, a class, or a file from elsewhere"
        raise SettingsError(f"viz.probes: {self.title} has no image or class {name!r}; {hint}")

    def _rank_and_world_size(self) -> tuple[int, int]:
        """Return this process's rank and the number of those that train together."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _evaluation_loader(self, part: Indices, size: int) -> DataLoader[Batch]:
        """Build the loader of this process's share of a part, each image once."""
        rank, world_size = self._rank_and_world_size()
        return self._loader(EvaluationImages(self.image_set, size), part[rank::world_size].tolist())

    def _loader(self, dataset: Dataset[Batch], sampler: Sampler[tuple[int, int]] | Iterable[int]) -> DataLoader[Batch]:
        _, world_size = self._rank_and_world_size()
        workers = self._workers()
        return DataLoader(
            dataset,
            batch_size=self.per_process_batch_size(world_size),
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=_identity_collate,
        )

    def _workers(self) -> int:
        """Choose how many processes load: without an accelerator none, as they would only take the network's cores."""
        if self.settings.workers is not None:
            return self.settings.workers
        if not torch.accelerator.is_available():
            return 0
        beside = self.trainer.num_devices if self.trainer else 1
        return max(1, min(8, (os.cpu_count() or 1) // beside))


def _identity_collate(batch: object) -> object:
    """Return the batch, which the data set already gives whole."""
    return batch


def _per_channel(images: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, device=images.device).mul(255).view(3, 1, 1) for values in (MEAN, STD))
    return mean, std
