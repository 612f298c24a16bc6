"""Stop a training whose loss leaves all bounds, in all its processes at once."""

import math
from typing import Any

from lightning import Callback, LightningModule, Trainer

FEW = 100


class DivergedError(RuntimeError):
    """Training was stopped since its loss was not finite or far above that of guessing."""


class StopOnDivergence(Callback):
    """A callback that raises DivergedError once a batch's loss isn't finite or exceeds ``times`` that of guessing.

    Guessing among all classes has the loss log(num_classes). Of few classes it counts as that of a hundred: two classes of
    twelve images had a batch's loss of 27 in the second epoch, and a mean of 1.4 in the fourth.

    The loss is the mean over all processes, so that they all stop at once; none is left waiting for another.
    """

    def __init__(self, num_classes: int, times: float = 10.0) -> None:
        self.largest = times * math.log(max(num_classes, FEW))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raise DivergedError if the batch's loss is out of bounds."""
        loss = float(trainer.strategy.reduce(outputs["loss"].clone(), reduce_op="mean"))
        if not loss <= self.largest:
            raise DivergedError(f"loss {loss:.3g} in batch {batch_idx + 1} of epoch {trainer.current_epoch + 1}")
