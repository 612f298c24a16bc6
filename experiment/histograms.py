"""Histograms of weights and gradients for W&B, as its ``watch`` has them, but by way of the mirror: W&B's own waits for it."""

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from experiment.dashboard import Histogram
from experiment.wandb_mirror import WandbMirror

BINS = 64


class HistogramLogger(Callback):
    """Sends histograms of each weight of the network, and of its gradient in the epoch's last step, as often as pictures."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take them where they are due: after the last step gradients stay until the next one begins."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbMirror) and logger.dashboard.is_due(trainer.current_epoch + 1):
                found = {}
                for name, weight in pl_module.get_submodule("network").named_parameters():
                    found[f"weights/{name}"] = histogram(weight)
                    if weight.grad is not None:
                        found[f"gradients/{name}"] = histogram(weight.grad)
                logger.log_histograms(found)


def histogram(values: Tensor) -> Histogram:
    """Count the values of a tensor of any shape in BINS bins of equal width; those that aren't finite are left out."""
    numbers = values.detach().float().flatten()
    numbers = numbers[numbers.isfinite()]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(numbers, BINS, low, high)
    return counts.cpu().numpy(), torch.linspace(low, high, BINS + 1).numpy()
