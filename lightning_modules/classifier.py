"""How a network learns to classify: loss, metrics, optimiser and schedule, for any architecture."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchvision.transforms.v2.functional import ten_crop

from configs import OptimSettings
from lightning_modules.filter_centering import center_filters, conv_weights
from lightning_modules.networks.layers import pool_before_relu
from lightning_modules.predictions import ImagePredictions

PARTS = ("train", "val", "test", "final/train", "final/test")


class Classifier(LightningModule):
    """A module that trains ``network`` by cross-entropy and measures it on the parts train, val and test.

    Convolution filters are centred (``filter_centering``) unless ``optim.filter_rate`` is 0.

    Metrics of each part: ``loss`` (cross-entropy in nats, without label smoothing, so that parts compare), ``accuracy``
    (top-1), ``top5`` and ``mean_per_class`` (mean of the classes' accuracies), the last three as shares from 0 to 1. Those of
    train are taken while training: on augmented images (of mixed ones the larger share counts), with dropout, over the epoch
    as the weights change. Those of final/train and final/test are taken once, at the end of the run; ``confusion_matrix``
    (num_classes, num_classes) then counts the test images of class i that were predicted as class j, and ``image_predictions``
    holds what was predicted for each (``ImagePredictions``).

    Args:
        network: maps images (N, 3, H, W) to logits (N, num_classes).
        num_classes: number of classes.
        optim: optimiser and schedule.
        steps_per_epoch: training batches of an epoch, for the schedule. Lightning could tell, but would start the loader to
            find out, before it knows at which epoch a resumed run continues.
        seed: decides dropout, together with epoch and rank.
        crop_size: at the end of the run, classify each test image by ten crops of this side; None: as it comes.
        checkpoint_metadata: plain values written into every checkpoint beside the weights (settings, class names).
    """

    def __init__(
        self,
        network: nn.Sequential,
        num_classes: int,
        optim: OptimSettings,
        steps_per_epoch: int,
        seed: int = 0,
        crop_size: int | None = None,
        checkpoint_metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.optim = optim
        self.filters = conv_weights(network) if optim.name == "adamw" and optim.filter_rate else []
        center_filters(self.filters)
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.checkpoint_metadata = checkpoint_metadata or {}
        self.crop_size = crop_size
        self.losses = nn.ModuleDict({f"{part}/loss": MeanMetric() for part in PARTS})
        self.accuracies = nn.ModuleDict({f"{part}/": _accuracies(num_classes, prefix=f"{part}/") for part in PARTS})
        self.confusion = MulticlassConfusionMatrix(num_classes)
        self.predictions = ImagePredictions()
        self.confusion_matrix: Tensor
        self.image_predictions: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits (N, num_classes) of images (N, 3, H, W)."""
        logits: Tensor = pool_before_relu(self.network)(images.to(next(self.network.parameters()).dtype))
        return logits if logits.dtype == torch.float64 else logits.float()

    def on_train_batch_start(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Seed dropout by (seed, epoch, rank), so that a resumed run draws what the whole run would have."""
        if batch_idx == 0:
            torch.manual_seed(_derive_seed(self.seed, self.current_epoch, self.global_rank))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss to minimise, of one batch."""
        images, targets = batch
        logits = self(images)
        self._measure("train", logits.detach(), targets if targets.ndim == 1 else targets.argmax(1))
        return F.cross_entropy(logits, targets, label_smoothing=self.optim.label_smoothing)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Centre the filters that the step has changed."""
        center_filters(self.filters)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure one batch of the part that its loader belongs to."""
        images, targets = batch
        part = list(self.trainer.val_dataloaders or ("val", "test"))[dataloader_idx]
        self._measure(part, self(images), targets)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure one batch at the end of the run: a training image as it is, a test image by its crops' mean probability.

        The crops are the four corners, the centre and their mirror images (Krizhevsky et al. 2012, section 4.1).
        """
        images, targets = batch
        part = f"final/{list(self.trainer.test_dataloaders or ('test',))[dataloader_idx]}"
        views = [images] if part == "final/train" or self.crop_size is None else ten_crop(images, [self.crop_size])
        logits = torch.stack([self(view).log_softmax(1) for view in views]).logsumexp(0) - math.log(len(views))
        self._measure(part, logits, targets)
        if part == "final/test":
            self.confusion.update(logits, targets)
            places = sum(map(len, self.predictions.rows)) + torch.arange(len(targets))  # this process sees every so-many-th
            self.predictions.update(logits, targets, places * self.trainer.world_size + self.global_rank)

    def on_test_epoch_end(self) -> None:
        """Bring together what all processes have seen."""
        self.confusion_matrix = self.confusion.compute()
        self.image_predictions = self.predictions.compute()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimiser and the learning rate's schedule by steps.

        Weights decay; biases and norms don't, but for the biases of centred filters. Each layer of these has a rate relative
        to the deviation of its start (He et al. 2015, arXiv 1502.01852), which makes it mean the same in every layer, and their
        biases have one of their own. As AdamW's decay (Loshchilov and Hutter 2019, arXiv 1711.05101) is relative to the rate,
        filters decay several times as fast as dense weights: what the gradient doesn't uphold, such as the noise of the start,
        goes. Their biases decay too: in 20 epochs 75 maps of conv5 fell silent where they didn't, one where they did
        (results/recipe.md).
        """
        convolutions = [layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d)] if self.filters else []
        biases = [layer.bias for layer in convolutions if layer.bias is not None]
        apart = {id(parameter) for parameter in (*self.filters, *biases)}
        others = [parameter for parameter in self.parameters() if id(parameter) not in apart]
        groups: list[dict[str, Any]] = [
            {"params": [each for each in others if each.ndim > 1]},
            {"params": [each for each in others if each.ndim <= 1], "weight_decay": 0.0},
        ]
        for weights in self.filters:
            deviation = math.sqrt(2 / weights[0].numel())
            groups.append({"params": [weights], "lr": self.optim.filter_rate * deviation})
        if biases:
            groups.append({"params": biases, "lr": self.optim.bias_rate})
        fused = self.trainer.precision in ("32-true", "bf16-mixed")  # one pass over the weights; excludes loss scaling
        decay = self.optim.weight_decay
        optimizer: torch.optim.Optimizer
        if self.optim.name == "adamw":
            optimizer = torch.optim.AdamW(groups, self.optim.lr, weight_decay=decay, fused=fused)
        else:
            momentum = self.optim.momentum
            optimizer = torch.optim.SGD(groups, self.optim.lr, momentum, weight_decay=decay, nesterov=momentum > 0, fused=fused)
        steps = (self.trainer.max_epochs or 1) * self.steps_per_epoch
        warmup = round(self.optim.warmup_epochs * self.steps_per_epoch)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, warmup, steps, self.optim.schedule)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by ``clip_gradient``: Lightning's own clipping refuses fused optimisers under mixed precision.

        Log the norm that the gradient had before, as a mean over the steps of an epoch.
        """
        norm = clip_gradient(list(self.parameters()), gradient_clip_val or math.inf)
        self.log("gradient_norm", norm, on_step=False, on_epoch=True, logger=False, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the settings and class names beside the weights."""
        checkpoint.update(self.checkpoint_metadata)

    def _measure(self, part: str, logits: Tensor, targets: Tensor) -> None:
        """Count one batch of a part in its metrics, and log them for the end of the epoch."""
        loss, accuracies = self.losses[f"{part}/loss"], self.accuracies[f"{part}/"]
        assert isinstance(loss, MeanMetric)
        assert isinstance(accuracies, MetricCollection)
        loss.update(F.cross_entropy(logits, targets), len(targets))
        accuracies.update(logits, targets)
        self.log(f"{part}/loss", loss, on_step=False, on_epoch=True, logger=False, add_dataloader_idx=False)
        self.log_dict(accuracies, on_step=False, on_epoch=True, logger=False, add_dataloader_idx=False)


def clip_gradient(weights: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale the gradient of the weights, in place, down to the norm ``max_norm``. One that is short enough is left alone.

    Returns the norm that it had.

    ``torch.nn.utils.clip_grad_norm_`` would multiply that one by 1, which takes time.
    """
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if norm > max_norm:
        torch.nn.utils.clip_grads_with_norm_(weights, max_norm, norm)
    return norm


def learning_rate_factor(step: int, warmup: int, steps: int, schedule: str) -> float:
    """Return the share of the highest rate at a step (from 0): linear over ``warmup`` steps, then half a cosine or constant."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _accuracies(num_classes: int, prefix: str) -> MetricCollection:
    # No compute groups: metrics whose states are equal after the first batch would share them from then on, and those of top5
    # and mean_per_class are equal where that batch has no mistake.
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "top5": MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro"),
            "mean_per_class": MulticlassAccuracy(num_classes, average="macro"),
        },
        prefix=prefix,
        compute_groups=False,
    )


def _derive_seed(*numbers: int) -> int:
    """Derive one seed from several numbers, the same on every machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
