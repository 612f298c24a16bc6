"""Histograms of weights and gradients for W&B, as its ``watch`` has them, but by way of the mirror: W&B's own waits for it."""

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from experiment.dashboard import Histogram
from experiment.wandb_mirror import WandbMirror

BINS = 64


class HistogramLogger(Callback):
    """Sends histograms of each weight of the network, and of its gradient in the epoch's last step, as often as pictures."""

    def __init__(self) -> None:
        self._gradients: dict[str, Histogram] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Take the gradients of the last step, which Lightning sets to nothing before the validation."""
        if trainer.is_last_batch and self._due(trainer):
            named = pl_module.get_submodule("network").named_parameters()
            self._gradients = {f"gradients/{name}": histogram(each.grad) for name, each in named if each.grad is not None}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the weights, and send both."""
        for mirror in self._due(trainer):
            named = pl_module.get_submodule("network").named_parameters()
            mirror.log_histograms(self._gradients | {f"weights/{name}": histogram(each) for name, each in named})

    def _due(self, trainer: Trainer) -> list[WandbMirror]:
        """Return those that take them after this epoch; none in other processes than the first."""
        mirrors = [logger for logger in trainer.loggers if isinstance(logger, WandbMirror)]
        return [mirror for mirror in mirrors if mirror.dashboard.is_due(trainer.current_epoch + 1)]


def histogram(values: Tensor) -> Histogram:
    """Count the values of a tensor of any shape in BINS bins of equal width; those that aren't finite are left out."""
    numbers = values.detach().float().flatten()
    numbers = numbers[numbers.isfinite()]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(numbers, BINS, low, high)
    return counts.cpu().numpy(), torch.linspace(low, high, BINS + 1).numpy()
