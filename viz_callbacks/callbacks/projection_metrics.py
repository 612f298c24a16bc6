"""A callback that logs, after each epoch, the numbers beside the pictures."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from viz_callbacks.callbacks.base import PeriodicCallback
from viz_callbacks.callbacks.probes import Probes
from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record
from viz_callbacks.metrics.dead_maps import DeadMaps
from viz_callbacks.metrics.projection_metrics import PERIODS, ProjectionMetrics
from viz_callbacks.metrics.similarity import CosineDistance

CONTROLLED = 2  # the controls cost the most: on the first probes only
CURVE_STEPS = 4


class ProjectionMetricsLogger(PeriodicCallback):
    """Logs what ``numbers`` measures on the probes, and beside it

    ``dead/conv1``: the number of the layer's maps that show nothing on any probe (DeadMaps);
    ``change/conv1``, ``change/denet``, ``change/gradient``: how much a picture changed since it was last looked at (CosineDistance).

    The controls (deletion to randomised) are taken on the first ``CONTROLLED`` probes, with ``CURVE_STEPS`` traces, and with
    random weights in the output layer, in the dense part and in all layers.

    Args:
        probes: the images to measure on. Where their masks aren't known, nothing is said of what lies inside of them.
        periods: grids to look for, in pixels.
        every_n_epochs, network: as for ``PeriodicCallback``.
    """

    def __init__(self, probes: Probes, periods: Sequence[int] = PERIODS, **when: Any) -> None:
        super().__init__(**when)
        self.probes = probes
        self.periods = periods
        self.before: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """The pictures as last seen, for ``change``."""
        return {"before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from these pictures."""
        self.before = dict(state_dict["before"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, where it is time to, on rank zero only."""
        if not (self.is_due(trainer) and trainer.is_global_zero):
            return
        started = time.monotonic()
        with torch.inference_mode():
            found = self._measured(pl_module)
        for name, value in found.items():
            pl_module.log(name, value, logger=False, rank_zero_only=True)
        pl_module.log("seconds/numbers", time.monotonic() - started, logger=False, rank_zero_only=True)

    def _measured(self, pl_module: LightningModule) -> dict[str, float]:
        network, device = getattr(pl_module, self.network), pl_module.device
        images, targets = self.probes.images.to(next(network.parameters())), self.probes.targets.to(device)
        masks = self.probes.masks
        if masks is None:
            masks = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
        traces = record(network, images)
        weighted = [trace.name for trace in traces if isinstance(trace.layer, nn.Conv2d | nn.Linear)]
        dense = [trace.name for trace in traces if isinstance(trace.layer, nn.Linear)]
        randomise = {weighted[-1], *dense[:1], weighted[0]}
        numbers = ProjectionMetrics(network, self.periods, curve_steps=CURVE_STEPS, randomised_layers=sorted(randomise))
        pictures = numbers.project(traces, targets)
        numbers.update(pictures, images, masks.to(device))
        few = slice(CONTROLLED)
        numbers.update_controls(
            record(network, images[few]), targets[few], {name: each[few] for name, each in pictures.items()}
        )
        found = numbers.compute()
        for layer in numbers.layers:
            maps = feature_maps(traces, layer)
            found[f"dead/{layer}"] = float(DeadMaps(maps.shape[1]).to(device)(maps))
        for name, picture in pictures.items():
            if name in self.before:
                found[f"change/{name}"] = float(CosineDistance()(self.before[name].to(device), picture))
        self.before = {name: picture.cpu() for name, picture in pictures.items()}
        return {name: value for name, value in found.items() if value == value}  # NaN: there was nothing to measure
