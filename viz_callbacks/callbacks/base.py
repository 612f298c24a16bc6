"""What all callbacks here share: when they look at a network, and what becomes of the pictures they make."""

import time
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor, nn

from viz_callbacks.callbacks.picture_folder import Picture, PictureFolder
from viz_callbacks.drawing.pixels import robust_range

if TYPE_CHECKING:
    import wandb


@runtime_checkable
class PictureLogger(Protocol):
    """A logger of one's own that takes pictures."""

    def log_pictures(self, files: Mapping[str, tuple[Path, str]], values: Mapping[str, float]) -> None:
        """Log pictures by key, each a file with its caption, and values beside them, as part of the epoch's row to come."""


def wandb_images(files: Mapping[str, tuple[Path, str]]) -> "dict[str, wandb.Image]":
    """Return what W&B logs for pictures by key, each a file with its caption."""
    import wandb  # here, as it may not be installed, and takes a second

    return {key: wandb.Image(str(file), caption=caption) for key, (file, caption) in files.items()}


class PeriodicCallback(Callback):
    """A callback that looks at a network after an epoch.

    Args:
        every_n_epochs: how often; the last epoch is always looked at. 0 for never.
        network: name of the LightningModule's attribute that holds the network, such as ``backbone``; ``""`` for itself.
    """

    def __init__(self, *, every_n_epochs: int = 1, network: str = "network") -> None:
        self.every_n_epochs = every_n_epochs
        self.network = network

    def is_due(self, trainer: Trainer) -> bool:
        """Tell whether to look after the current epoch."""
        epoch = trainer.current_epoch + 1
        return self.every_n_epochs > 0 and (epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs)


def validation_loader(trainer: Trainer, dataloader_idx: int) -> str | None:
    """Return the name of one of the validation's loaders, None for one without a name."""
    loaders = trainer.val_dataloaders
    return list(loaders)[dataloader_idx] if isinstance(loaders, dict) else None


class PictureCallback(PeriodicCallback):
    """A callback that makes pictures after an epoch, on rank zero only, and does nothing that training could notice.

    Args:
        folder: where the pictures go, see ``picture_folder``.
        every_n_epochs: as for ``PeriodicCallback``.
        fixed_scale: keep each picture's range as first seen, so that epochs compare by eye.
        network: as for ``PeriodicCallback``.
    """

    name: ClassVar[str]
    """Of the kind of picture: in W&B's keys, in the seconds that are logged, in checkpoints."""

    lossless_sprites: ClassVar[Collection[str]] = ()
    """As for ``PictureFolder``."""

    def __init__(
        self, folder: str | Path, *, every_n_epochs: int = 1, fixed_scale: bool = False, network: str = "network"
    ) -> None:
        super().__init__(every_n_epochs=every_n_epochs, network=network)
        self.folder = Path(folder)
        self.picture_folder = PictureFolder(self.folder, self.lossless_sprites)
        self.fixed_scale = fixed_scale
        self.first_ranges: dict[str, float] = {}
        self._warned = False

    @abstractmethod
    def make_pictures(self, network: nn.Module, epoch: int, trainer: Trainer | None = None) -> Iterable[Picture]:
        """Return the pictures of one epoch (from 1).

        Called in inference mode, by ``trainer`` after an epoch or without one by ``render``.
        """

    def on_saved(self, epoch: int) -> None:
        """Draw what can only be drawn when the epoch's pictures are on disk: nothing."""

    def render(self, network: nn.Module, epoch: int) -> list[tuple[Picture, Path]]:
        """Make the pictures of a network and put them on disk under this epoch (from 1); each with its sheet's file.

        This is what the callback does after an epoch, without a Trainer.
        """
        return self._render(network, epoch, None)

    def range(self, key: str, values: Tensor) -> float:
        """Return the range of a picture: of these values or, with ``fixed_scale``, as it was when it was first not empty."""
        now = robust_range(values)
        if not self.fixed_scale:
            return now
        if key not in self.first_ranges and now > 0:
            self.first_ranges[key] = now
        return self.first_ranges.get(key, 0.0)

    @property
    def state_key(self) -> str:
        """One state for each kind of picture."""
        return self.name

    def state_dict(self) -> dict[str, Any]:
        """Return the ranges that ``fixed_scale`` keeps."""
        return {"first_ranges": self.first_ranges}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume with these ranges."""
        self.first_ranges = dict(state_dict["first_ranges"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make, save and log the pictures, where they are due."""
        if not (self.is_due(trainer) and trainer.is_global_zero):
            return
        started = time.monotonic()
        try:
            made = self._render(pl_module.get_submodule(self.network), trainer.current_epoch + 1, trainer)
        except OSError as problem:  # such as a full disk; a training doesn't end for its pictures
            if not self._warned:
                print(f"{problem}: pictures of {self.name} are missing from epoch {trainer.current_epoch + 1} on", flush=True)
            self._warned = True
            return
        for logger in trainer.loggers:
            self._log_pictures(logger, made, trainer.global_step)
        pl_module.log(f"seconds/{self.name}", time.monotonic() - started, logger=False, rank_zero_only=True)

    def _render(self, network: nn.Module, epoch: int, trainer: Trainer | None) -> list[tuple[Picture, Path]]:
        with torch.inference_mode():
            pictures = list(self.make_pictures(network, epoch, trainer))
        files = self.picture_folder.save(pictures, epoch)
        if pictures:
            self.on_saved(epoch)
        return list(zip(pictures, files, strict=True))

    def _log_pictures(self, logger: Logger, made: list[tuple[Picture, Path]], step: int) -> None:
        """Give the ranges to any logger, and the sheets to W&B, TensorBoard or what else takes pictures."""
        ranges = {
            f"range/{self.name}/{picture.place}/{name}": value for picture, _ in made for name, value in picture.ranges.items()
        }
        files = {f"{self.name}/{picture.place}": (file, picture.caption) for picture, file in made}
        if isinstance(logger, PictureLogger):
            logger.log_pictures(files, ranges)
        elif isinstance(logger, WandbLogger):
            # Not committed: they join the row of this epoch's metrics, so that the dashboard can step through them by epoch.
            logger.experiment.log({**wandb_images(files), **ranges}, commit=False)
        elif isinstance(logger, TensorBoardLogger):
            for key, (picture, _) in zip(files, made, strict=True):
                logger.experiment.add_image(key, np.asarray(picture.sheet), step, dataformats="HWC")
            logger.log_metrics(ranges, step)
        else:
            logger.log_metrics(ranges)
