"""A callback that logs, after each epoch, whether the layers learn."""

import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from viz_callbacks.callbacks.base import PeriodicCallback
from viz_callbacks.methods.filters import conv_filters
from viz_callbacks.metrics.filters import measure_filters


class FilterMetricsLogger(PeriodicCallback):
    """Logs how far each convolution layer's filters have left their start, as ``measure_filters`` names it.

    The filters of the start are kept in checkpoints, so that a resumed run compares with the same ones. Arguments as for
    ``PeriodicCallback``.
    """

    def __init__(self, *, every_n_epochs: int = 1, network: str = "network") -> None:
        super().__init__(every_n_epochs=every_n_epochs, network=network)
        self.start: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the filters of the start."""
        return {"start": self.start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume with these filters of the start."""
        self.start = dict(state_dict["start"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the filters as they are before training, unless a checkpoint brought them."""
        if self.every_n_epochs > 0 and not self.start:
            filters = conv_filters(pl_module.get_submodule(self.network))
            self.start = {name: weights.clone().cpu() for name, weights in filters.items()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, where it is due, on rank zero only."""
        if not (self.is_due(trainer) and trainer.is_global_zero and self.start):
            return
        started = time.monotonic()
        with torch.inference_mode():
            filters = conv_filters(pl_module.get_submodule(self.network))
            metrics = measure_filters({name: weights.cpu() for name, weights in filters.items()}, self.start)
        for name, value in metrics.items():
            pl_module.log(name, value, logger=False, rank_zero_only=True)
        pl_module.log("seconds/filter_metrics", time.monotonic() - started, logger=False, rank_zero_only=True)
