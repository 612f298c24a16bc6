"""Checkpoints that are whole or not there at all.

Lightning's own writer stages in the system's temporary folder. Where that is another file system, a process killed at the
wrong moment leaves half a file in place of the good one. Here the file is staged beside its target.
"""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from configs.files import atomic_write
from lightning_modules.checkpoints import read_checkpoint

RENAMED_CALLBACKS = {"RunRecord": "CSVRecorder", "LogNumbers": "ProjectionMetricsLogger", "strongest": "top_activations"}
"""Callbacks by the names that they once had: checkpoints of that time hold their states under them."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints by ``atomic_write`` and reads tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``. Raises OSError with that path on failure; the earlier file stays."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as problem:
                # Out of space or interrupted, torch's writer fails once more as it closes its file: the first failure counts.
                match problem.__context__:
                    case OSError() as first:
                        raise OSError(first.errno, first.strerror) from problem
                    case KeyboardInterrupt():
                        raise KeyboardInterrupt from problem
                    case RuntimeError() as first:  # a loading process was killed: torch raises that from a signal's handler
                        raise RuntimeError(str(first)) from problem
                raise

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read the checkpoint in ``path``, its tensors in main memory.

        Never runs code from the file: ``weights_only`` and ``map_location``, which Lightning passes, have no say.
        """
        checkpoint = read_checkpoint(Path(path))
        if "callbacks" in checkpoint:
            states = checkpoint["callbacks"].items()
            checkpoint["callbacks"] = {RENAMED_CALLBACKS.get(name, name): state for name, state in states}
        return checkpoint


def checkpoint_callbacks(folder: Path, has_validation: bool) -> list[Callback]:
    """Build the callbacks that save ``last.ckpt`` after each epoch, to resume from, and ``best.ckpt``.

    ``best.ckpt`` holds the weights of the epoch with the highest ``val/accuracy``; without validation there is none.
    """
    last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    best = ModelCheckpoint(
        folder, "best", monitor="val/accuracy", mode="max", save_weights_only=True,
        save_on_train_epoch_end=True, enable_version_counter=False,
    )  # fmt: skip
    return [best, last] if has_validation else [last]
