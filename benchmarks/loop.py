"""What Lightning's loop and the run's bookkeeping add to a training step; steps in processes of their own, and their memory."""

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from benchmarks.steps import BATCH, CLASSES, CLIP, batch, our_step
from benchmarks.timing import Row, rates
from configs import ModelSettings, OptimSettings
from datamodules.datasets import Batch
from experiment.divergence import StopOnDivergence
from experiment.hardware import configure_malloc
from experiment.loggers import quiet_lightning
from lightning_modules.classifier import Classifier
from lightning_modules.networks.registry import build_network

SKIPPED = 2  # first steps, which also set things up


class Clock(Callback):
    """A callback that notes when each training batch ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


class OneBatch(Dataset[Batch]):
    """The same batch again and again, so that loading costs nothing."""

    def __init__(self, batch: Batch, count: int) -> None:
        self.batch = batch
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        return self.batch


def lightning_loop(repeats: int) -> list[Row]:
    """Measure Lightning's loop over our step with metrics and callbacks, against a bare loop over the same step."""
    quiet_lightning()
    configure_malloc()
    steps = 6
    images, targets = batch(227)
    images = images.contiguous(memory_format=torch.channels_last)
    network = build_network(ModelSettings(dropout=0.0), CLASSES).to(memory_format=torch.channels_last)
    step = our_step(network, images, targets)
    lightning, bare = [], []
    for _ in range(repeats):
        clock = Clock()
        model = Classifier(network, CLASSES, OptimSettings(name="sgd", lr=1e-4), steps)
        trainer = Trainer(
            max_epochs=1, accelerator="cpu", precision="32-true", gradient_clip_val=CLIP, logger=False,
            callbacks=[StopOnDivergence(CLASSES), clock], enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        loader = DataLoader(OneBatch((images, targets), steps + SKIPPED), batch_size=None)
        trainer.fit(model, loader)
        lightning.append((clock.ends[-1] - clock.ends[SKIPPED - 1]) / steps)
        step()
        started = time.perf_counter()
        for _ in range(steps):
            step().item()
        bare.append((time.perf_counter() - started) / steps)
    more = [100 * (a / b - 1) for a, b in zip(lightning, bare, strict=True)]
    return [
        Row(
            "Lightning's loop with metrics, AlexNet, 227 px, batch 64", 1000 * statistics.median(lightning),
            1000 * statistics.median(bare), "ms/step", statistics.median(more), (min(more), max(more)),
            "% more than a bare loop over the same step",
        )
    ]  # fmt: skip


def processes(name: str, repeats: int) -> list[Row]:
    """Measure steps of a network in processes of their own: what reusing freed memory brings, and the peak memory.

    The allocator belongs to a whole process, so it can't be compared within one. Memory includes interpreter and libraries.
    """
    found = {}
    for way in ("ours", "ours, glibc's own malloc", "plain"):
        command = [sys.executable, "-m", "benchmarks.alone", name, way, str(repeats)]
        found[way] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ours, own_malloc, plain = found.values()
    title = f"{name} step in a process of its own"
    return [
        rates(f"{title}: all", ours["seconds"], plain["seconds"], BATCH, "images/s", "times as fast as plain PyTorch"),
        rates(f"{title}: freed memory reused", ours["seconds"], own_malloc["seconds"], BATCH, "images/s", "times as fast"),
        Row(f"{title}: peak memory", ours["gigabytes"], plain["gigabytes"], "GB",
            ours["gigabytes"] / plain["gigabytes"], None, "of plain PyTorch's"),
    ]  # fmt: skip
