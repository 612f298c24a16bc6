"""A callback that logs, after each epoch, the metrics beside the pictures."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from viz_callbacks.callbacks.base import PeriodicCallback
from viz_callbacks.callbacks.probes import Probes
from viz_callbacks.callbacks.snapshot import ProbeSnapshot, SharesSnapshot
from viz_callbacks.metrics.epoch_metrics import epoch_metrics
from viz_callbacks.metrics.projection_metrics import PERIODS


class ProjectionMetricsLogger(SharesSnapshot, PeriodicCallback):
    """Logs the metrics of the probes' projections, as ``epoch_metrics`` names them.

    Args:
        probes: the images to measure on. Where their masks aren't known, nothing is said of what lies inside of them.
        periods: grids to look for, in pixels.
        controls_every: take the costly controls every so many times that the others are taken, and after the last epoch.
        every_n_epochs: as for ``PeriodicCallback``.
        network: as for ``PeriodicCallback``.
    """

    def __init__(
        self,
        probes: Probes,
        *,
        periods: Sequence[int] = PERIODS,
        controls_every: int = 5,
        every_n_epochs: int = 1,
        network: str = "network",
    ) -> None:
        super().__init__(every_n_epochs=every_n_epochs, network=network)
        self.probes = probes
        self.shared_snapshot = probes.shared_snapshot
        self.periods = periods
        self.controls_every = controls_every
        self.before: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the projections as last seen, for ``change``."""
        return {"before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from these projections."""
        self.before = dict(state_dict["before"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, where it is due, on rank zero only."""
        if not (self.is_due(trainer) and trainer.is_global_zero):
            return
        started = time.monotonic()
        with torch.inference_mode():
            snapshot = self.probes.snapshot(pl_module.get_submodule(self.network), trainer)
            metrics = self._measure(snapshot, self._controls_due(trainer))
        for name, value in metrics.items():
            pl_module.log(name, value, logger=False, rank_zero_only=True)
        pl_module.log("seconds/metrics", time.monotonic() - started, logger=False, rank_zero_only=True)

    def _controls_due(self, trainer: Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        return epoch % (self.controls_every * self.every_n_epochs) == 0 or epoch == trainer.max_epochs

    def _measure(self, snapshot: ProbeSnapshot, controls: bool) -> dict[str, float]:
        masks, images = self.probes.masks, snapshot.images
        if masks is None:
            masks = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
        projections = snapshot.projections()
        metrics = epoch_metrics(
            snapshot.network,
            snapshot.traces,
            snapshot.targets,
            masks.to(images.device),
            projections,
            self.before,
            self.periods,
            controls,
        )
        self.before = {name: projection.cpu() for name, projection in projections.items()}
        return metrics
