"""Checkpoints that are whole or not there at all.

Lightning's own writer stages in the system's temporary folder. Where that is another file system, a process killed at the
wrong moment leaves half a file in place of the good one. Here the file is staged beside its target.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_modules.checkpoints import read_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, forces it to disk, then renames it over the target; reads tensors only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``. Raises OSError with that path on failure; the earlier file stays."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException as problem:
            partial.unlink(missing_ok=True)
            # torch's writer, interrupted or out of space, fails again as it closes its file: the context is the first failure.
            cause = problem if isinstance(problem, OSError) else problem.__context__
            if isinstance(cause, OSError):
                raise OSError(cause.errno, cause.strerror, str(target)) from problem
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from problem
            raise
        _sync_folder(target.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The checkpoint in ``path``, its tensors in main memory. Never runs code from the file: ``weights_only`` is fixed."""
        return read_checkpoint(Path(path))


def checkpoint_callbacks(folder: Path, has_validation: bool) -> list[Callback]:
    """``last.ckpt`` after each epoch, to go on from, and ``best.ckpt``: the weights of the epoch that is best on validation."""
    last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    best = ModelCheckpoint(
        folder, "best", monitor="val/accuracy", mode="max", save_weights_only=True,
        save_on_train_epoch_end=True, enable_version_counter=False,
    )  # fmt: skip
    return [best, last] if has_validation else [last]


def _sync_folder(folder: Path) -> None:
    """Force a rename in this folder to disk, where the system allows that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
