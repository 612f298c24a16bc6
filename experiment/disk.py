"""What a run takes of the disk: said, and compared with what is free, before it starts; and what stays when it has ended.

Checkpoints are nearly all of it. ``last.ckpt`` holds the weights, the optimiser's moments, which are as large again for each
moment, and little else. It is written beside the earlier one before it replaces it, so for a moment there are two.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from configs import OptimSettings, Settings, SettingsError
from experiment.checkpoint_io import AtomicCheckpointIO
from lightning_modules.checkpoints import BEST, LAST, WEIGHTS, read_checkpoint
from lightning_modules.classifier import Classifier

PICTURES_OF_AN_EPOCH = 7_000_000
"""Bytes: those of AlexNet on eight probes, with all kinds of pictures. TensorBoard, which copies them, takes as much again."""

ONLY_FOR_RESUMING = ("optimizer_states", "lr_schedulers", "loops", "callbacks")
"""Parts of a checkpoint that mean nothing without the optimiser's state."""


@dataclass(frozen=True)
class CheckpointSizes:
    """How many bytes the checkpoints of a run have at least: a file of weights, and ``last.ckpt``."""

    weights: int
    last: int

    def largest(self, epochs: int, has_validation: bool) -> int:
        """Return what all of them take at most, in the moment when one replaces another."""
        return (2 if epochs > 1 else 1) * self.last + (self.weights if has_validation else 0)

    def left(self, keep: str, has_validation: bool) -> int:
        """Return what stays of them by ``trainer.keep`` when the run has ended."""
        everything = self.last + (self.weights if has_validation else 0)
        return {"all": everything, "none": 0}.get(keep, self.weights)


def checkpoint_sizes(classifier: Classifier, optim: OptimSettings, precision: str) -> CheckpointSizes:
    """Return the sizes that follow from the numbers of weights, before any file is there."""
    trained = sum(each.numel() for each in classifier.parameters())
    stored = sum(each.numel() for each in classifier.state_dict().values())
    moments = 2 if optim.name == "adamw" else int(optim.momentum > 0)
    width = {"64-true": 8, "bf16-true": 2, "16-true": 2}.get(precision, 4)
    return CheckpointSizes(width * stored, width * (stored + moments * trained))


def check_disk(settings: Settings, sizes: CheckpointSizes, has_validation: bool, folder: Path | None) -> str:
    """Compare what a run is going to take with what is free.

    Args:
        settings: of the run.
        sizes: of its checkpoints.
        has_validation: whether there is a best epoch.
        folder: of the run that is resumed, None for a new one.

    Returns:
        What to tell: how much it takes, how much stays, how much is free; and a warning where the pictures may not fit.

    Raises:
        SettingsError: the checkpoints can't fit, whatever else happens.
    """
    trainer, viz = settings.trainer, settings.viz
    path = (folder or Path(settings.runs)).absolute()
    free = shutil.disk_usage(next(each for each in (path, *path.parents) if os.path.isdir(each))).free
    needed = sizes.largest(trainer.max_epochs, has_validation)
    there = sum(file.stat().st_size for file in folder.glob("checkpoints/*.ckpt")) if folder else 0
    if free + there < needed:
        raise SettingsError(
            f"{folder or settings.runs}: the checkpoints take at least {format_bytes(needed)} while the network trains, but "
            f"only {format_bytes(free)} are free; make room{'' if folder else ', or choose another place with runs=FOLDER'}"
        )
    left = sizes.left(trainer.keep, has_validation)
    line = (
        f"On disk: checkpoints of about {format_bytes(needed)} while it trains, {format_bytes(left)} when it has ended "
        f"(trainer.keep={trainer.keep}); {format_bytes(free)} are free"
    )
    looks = trainer.max_epochs // viz.every_n_epochs if viz.every_n_epochs else 0
    pictures = looks * PICTURES_OF_AN_EPOCH * (2 if settings.logger.name == "tensorboard" else 1)
    if free + there < needed + pictures:
        line += f"\nThe disk may be too small: pictures take up to about {format_bytes(pictures)} more"
    return line


def keep_weights(folder: Path, keep: str) -> None:
    """Leave of the checkpoints of a run that has ended what ``trainer.keep`` names.

    ``last.ckpt`` goes in the end, when what stays is on the disk: until then the run can be resumed, and end once more. Where
    no epoch was the best, as after a loss that was never finite, the last one is kept in its place.

    Args:
        folder: of the run.
        keep: ``last``, ``best``, ``all`` or ``none``.

    Raises:
        SettingsError: ``last.ckpt`` is damaged.
        OSError: the weights can't be written.
    """
    last, weights, best = (folder / "checkpoints" / name for name in (LAST, WEIGHTS, BEST))
    if keep == "best" and not best.is_file():
        keep = "last"
    kept = {"last": [weights], "best": [best], "all": [last, best], "none": []}[keep]
    half_written = last.parent.glob(".*.partial")  # by a process that was killed
    for file in (weights, best, *half_written):
        if file not in kept:
            file.unlink(missing_ok=True)
    if keep == "last" and last.is_file():
        write_weights(folder)
    if last not in kept:
        last.unlink(missing_ok=True)


def write_weights(folder: Path) -> Path:
    """Write ``weights.ckpt`` of a run: its ``last.ckpt`` without what only resuming needs. Raises as ``keep_weights`` does."""
    last, weights = (folder / "checkpoints" / name for name in (LAST, WEIGHTS))
    content = {name: part for name, part in read_checkpoint(last, mmap=True).items() if name not in ONLY_FOR_RESUMING}
    AtomicCheckpointIO().save_checkpoint(content, weights)
    return weights


def format_bytes(count: int) -> str:
    """Format a size for people: 235 MB, 1.6 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 999_500_000 else f"{count / 1e6:.0f} MB"
