"""What all callbacks that make pictures share: when to look, and where the pictures go.

On disk, whatever the logger (``folder`` is given by the user)::

    folder/index.json                       what is there: epochs, places, files, ranges, facts
    folder/<place>/epoch-001.jpg            the sheet that people open, and W&B gets
    folder/<place>/sprites/epoch-001-*.webp its parts at native size, for pages that are built later
"""

import json
import math
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from torch import Tensor, nn

from viz_callbacks.drawing.pixels import Pixels, robust_range


@dataclass(frozen=True)
class Picture:
    """One sheet and what belongs to it.

    place: its folder, such as ``<probe>/<layer>``. sprites: by name, pictures at native size. ranges: by name, what white
    means. facts: further entries of the index.
    """

    place: str
    sheet: Image.Image
    caption: str
    sprites: Mapping[str, Pixels]
    ranges: Mapping[str, float]
    facts: Mapping[str, Any]


class PeriodicCallback(Callback):
    """Looks at a network after an epoch.

    Args:
        every_n_epochs: how often; the last epoch is always looked at. 0 for never.
        network: name of the LightningModule's attribute that holds the network.
    """

    def __init__(self, every_n_epochs: int = 1, network: str = "network") -> None:
        self.every_n_epochs = every_n_epochs
        self.network = network

    def is_due(self, trainer: Trainer) -> bool:
        """Whether to look after the current epoch."""
        epoch = trainer.current_epoch + 1
        return self.every_n_epochs > 0 and (epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs)


class PictureCallback(PeriodicCallback):
    """Makes pictures after an epoch, on rank zero only; computes nothing that training could notice.

    Args:
        folder: where the pictures go.
        fixed_scale: keep each picture's range as first seen, so that epochs compare by eye.
        every_n_epochs, network: as for ``PeriodicCallback``.
    """

    name: str
    sprite_format: ClassVar[dict[str, Any]] = {"quality": 60, "method": 2}  # of WebP

    def __init__(self, folder: Path, every_n_epochs: int = 1, fixed_scale: bool = False, network: str = "network") -> None:
        super().__init__(every_n_epochs, network)
        self.folder = folder
        self.fixed_scale = fixed_scale
        self.first_ranges: dict[str, float] = {}

    @abstractmethod
    def make(self, network: nn.Module, epoch: int) -> Iterable[Picture]:
        """The pictures of one epoch (from 1). Called in inference mode."""

    def on_saved(self, epoch: int) -> None:
        """What is left to draw when the epoch's pictures are on disk: nothing."""

    def state_dict(self) -> dict[str, Any]:
        """The ranges that ``fixed_scale`` keeps."""
        return {"first_ranges": self.first_ranges}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with these ranges."""
        self.first_ranges = dict(state_dict["first_ranges"])

    @property
    def state_key(self) -> str:
        """One state for each kind of picture."""
        return self.name

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look, where it is time to."""
        if not (self.is_due(trainer) and trainer.is_global_zero):
            return
        started = time.monotonic()
        made = self.render(getattr(pl_module, self.network), trainer.current_epoch + 1)
        for logger in trainer.loggers:
            self._send(logger, made)
        pl_module.log(f"seconds/{self.name}", time.monotonic() - started, logger=False, rank_zero_only=True)

    def render(self, network: nn.Module, epoch: int) -> list[tuple[Picture, Path]]:
        """Make the pictures of a network and put them on disk under this epoch (from 1); each with its sheet's file.

        This is what the callback does after an epoch; with a trained network it needs no Trainer.
        """
        with torch.inference_mode():
            made = list(self.make(network, epoch))
        files = [self._save(picture, epoch) for picture in made]
        if made:
            self._write_index(made, epoch)
            self.on_saved(epoch)
        return list(zip(made, files, strict=True))

    def range(self, key: str, values: Tensor) -> float:
        """The range of a picture: of these values or, with ``fixed_scale``, as it was when it was first not empty."""
        now = robust_range(values)
        if not self.fixed_scale:
            return now
        if key not in self.first_ranges and now > 0:
            self.first_ranges[key] = now
        return self.first_ranges.get(key, 0.0)

    def _save(self, picture: Picture, epoch: int) -> Path:
        folder = self.folder / picture.place
        (folder / "sprites").mkdir(parents=True, exist_ok=True)
        file = folder / f"epoch-{epoch:03d}.jpg"
        picture.sheet.save(file, quality=88, subsampling=0)
        for name, pixels in picture.sprites.items():
            Image.fromarray(pixels).save(folder / "sprites" / f"epoch-{epoch:03d}-{name}.webp", **self.sprite_format)
        return file

    def _write_index(self, pictures: list[Picture], epoch: int) -> None:
        file = self.folder / "index.json"
        index = json.loads(file.read_text()) if file.exists() else {}
        index[f"{epoch}"] = [
            {
                "place": picture.place,
                "sheet": f"{picture.place}/epoch-{epoch:03d}.jpg",
                "sprites": {name: f"{picture.place}/sprites/epoch-{epoch:03d}-{name}.webp" for name in picture.sprites},
                "caption": picture.caption,
                "ranges": {name: value if math.isfinite(value) else None for name, value in picture.ranges.items()},
                **picture.facts,
            }
            for picture in pictures
        ]
        partial = file.with_name(".index.json.partial")
        partial.write_text(json.dumps(index, indent=1))
        partial.replace(file)

    def _send(self, logger: Any, made: list[tuple[Picture, Path]]) -> None:
        ranges = {
            f"range/{self.name}/{picture.place}/{name}": value for picture, _ in made for name, value in picture.ranges.items()
        }
        if not isinstance(logger, WandbLogger):
            logger.log_metrics(ranges)
            return
        import wandb

        images = {f"{self.name}/{picture.place}": wandb.Image(str(file), caption=picture.caption) for picture, file in made}
        # Not committed: they join the row of this epoch's metrics, so that the dashboard can trace through them by epoch.
        logger.experiment.log({**images, **ranges}, commit=False)
