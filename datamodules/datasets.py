"""Labelled images, and their order in training: a pure function of (seed, epoch)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from configs import DataSettings
from datamodules.cache import Pixels
from datamodules.splits import Indices
from datamodules.transforms import augment, cutmix, epoch_random_numbers, resize

Batch = tuple[Tensor, Tensor]  # images (N, 3, S, S) uint8, targets (N,) int64 or, where mixed, (N, classes) shares

MIXED_UNTIL = 7 / 8  # of the run's epochs; then the network gets used to whole images


class Images(Protocol):
    """Square images by index, each (H, W, 3) uint8."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...


@dataclass(frozen=True)
class ImageSet:
    """N images with names, classes and groups. A split must keep the images of a group together.

    ``parts`` are those of a split that the data set comes with, by name: train, and val or test or both. What isn't there is
    drawn. ``skipped`` are files that are left out, with the reason of each.
    """

    class_names: list[str]
    files: list[str]
    targets: Indices
    groups: Indices
    images: Images
    parts: Mapping[str, Indices] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


class TrainingImages(Dataset[Batch]):
    """Augmented batches. An item is asked for by (epoch, index), so that a worker process knows the epoch.

    A batch is images (N, 3, S, S) uint8 and targets: (N,) int64 or, where CutMix mixes them, (N, classes) shares.

    Args:
        image_set: the whole data set.
        sizes: the images' sides in equal stages of the ``epochs``: with [112, 160] the second half is larger.
        epochs: of the whole run.
        settings: how to augment.
        seed: decides the augmentation, together with the epoch.
    """

    def __init__(self, image_set: ImageSet, sizes: Sequence[int], epochs: int, settings: DataSettings, seed: int) -> None:
        self.image_set = image_set
        self.sizes = sizes
        self.epochs = epochs
        self.settings = settings
        self.seed = seed

    def size(self, epoch: int) -> int:
        """Return the side of the images of an epoch (from 0), in pixels."""
        stage = epoch * len(self.sizes) // self.epochs
        last = len(self.sizes) - 1  # also of epochs beyond the last, which a resumed run may have
        return self.sizes[min(stage, last)]

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> Batch:
        """Return a whole batch, all of one epoch."""
        epoch, indices = items[0][0], [index for _, index in items]
        numbers = epoch_random_numbers(len(self.image_set.images), self.seed, epoch)[indices]
        images = [
            augment(self.image_set.images[index], self.size(epoch), self.settings, own)
            for index, own in zip(indices, numbers, strict=True)
        ]
        batch, targets = torch.stack(images), torch.from_numpy(self.image_set.targets[indices])
        if self.settings.cutmix > 0 and epoch < MIXED_UNTIL * self.epochs:
            targets = torch.nn.functional.one_hot(targets, len(self.image_set.class_names)).float()
            cutmix(batch, targets, self.settings.cutmix, numbers)
        return batch, targets


class EvaluationImages(Dataset[Batch]):
    """Batches as evaluation sees them: images (N, 3, S, S) uint8 and targets (N,) int64."""

    def __init__(self, image_set: ImageSet, size: int) -> None:
        self.image_set = image_set
        self.size = size

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch at once."""
        images = [resize(self.image_set.images[index], self.size) for index in indices]
        return torch.stack(images), torch.from_numpy(self.image_set.targets[list(indices)])


class EpochSampler(Sampler[tuple[int, int]]):
    """This process's (epoch, index) pairs: ``indices`` in an order drawn from (seed, epoch), shared out over the processes.

    The k-th batches of all processes together are the k-th batch of a single process.

    Args:
        indices: (N,) of the images.
        seed: decides the order, together with the epoch.
        global_batch: images in a batch of all processes together. Those that don't fill a last one are left out, in each epoch
            others.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, indices: Indices, seed: int, global_batch: int, rank: int, world_size: int) -> None:
        self.indices = indices
        self.seed = seed
        self.used = len(indices) // global_batch * global_batch
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take this epoch's order from now on. Lightning calls it before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.indices)[: self.used]
        epoch = self.epoch
        return ((epoch, int(index)) for index in order[self.rank :: self.world_size])

    def __len__(self) -> int:
        return self.used // self.world_size
