"""What a run's pictures add to an epoch at full size."""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from lightning import Trainer

from benchmarks.steps import batch, our_step
from benchmarks.timing import Row
from configs import DataSettings, ModelSettings, OptimSettings
from datamodules.caltech101 import Caltech101
from lightning_modules import Classifier, build_network
from lightning_modules.loggers import quiet_lightning
from lightning_modules.machine import keep_freed_memory
from lightning_modules.networks import IMAGE_SIZES
from looking import probes_of
from viz_callbacks import DeconvolutionPictures, DeNetPictures, Probes


def pictures(name: str, repeats: int) -> list[Row]:
    """Eight probes, all layers, both methods, files written: against the training steps of an epoch, in float32."""
    quiet_lightning()
    keep_freed_memory()
    data = Caltech101(DataSettings(), IMAGE_SIZES[name], seed=1)
    data.prepare_data()
    data.setup("fit")
    probes = probes_of(data, [])
    network = build_network(ModelSettings(name=name), len(data.class_names)).to(memory_format=torch.channels_last)
    step = our_step(network, *batch(IMAGE_SIZES[name]))
    step()
    steps, looks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            started = time.perf_counter()
            step()
            steps.append(time.perf_counter() - started)
            looks.append(_look(network, data, probes, Path(folder)))
    epoch = statistics.median(steps) * data.steps_per_epoch
    share = [100 * look / epoch for look in looks]
    return [
        Row(
            f"{name}: pictures of an epoch, {len(probes.names)} probes, all layers, both methods",
            statistics.median(looks), epoch, "s", statistics.median(share), (min(share), max(share)),
            "% of the epoch's training steps",
        )
    ]  # fmt: skip


def _look(network: torch.nn.Sequential, data: Caltech101, probes: Probes, folder: Path) -> float:
    """Seconds that both callbacks say they took at the end of an epoch without training."""
    model = Classifier(network, len(data.class_names), OptimSettings(), 1)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, limit_train_batches=1, limit_val_batches=0, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[DeconvolutionPictures(folder / "deconvolution", probes), DeNetPictures(folder / "denet", probes)],
    )  # fmt: skip
    trainer.fit(model, data)
    return sum(float(value) for name, value in trainer.callback_metrics.items() if name.startswith("seconds/"))
