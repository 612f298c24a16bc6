"""What a run's pictures and numbers add to an epoch at full size."""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from lightning import Trainer
from torch import nn

from benchmarks.steps import BATCH, batch, our_step
from benchmarks.timing import Row, in_turns
from configs import DataSettings, ModelSettings, OptimSettings, VizSettings
from datamodules.caltech101.datamodule import Caltech101
from experiment.hardware import configure_malloc
from experiment.loggers import quiet_lightning
from experiment.visualization import build_probes, visualization_callbacks
from lightning_modules.classifier import Classifier
from lightning_modules.networks.layers import pool_before_relu
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.metrics.top_activations import TopActivationHooks


def pictures(name: str, repeats: int) -> list[Row]:
    """All that a run looks at by default after each epoch, files written, against the epoch's training steps in float32."""
    quiet_lightning()
    configure_malloc()
    data = Caltech101(DataSettings(), IMAGE_SIZES[name], seed=1)
    data.prepare_data()
    data.setup("fit")
    network = build_network(ModelSettings(name=name), len(data.class_names)).to(memory_format=torch.channels_last)
    step = our_step(network, *batch(IMAGE_SIZES[name]))
    step()
    steps, seconds = [], dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            started = time.perf_counter()
            step()
            steps.append(time.perf_counter() - started)
            for look, once in _look(network, data, Path(folder)).items():
                seconds.setdefault(look, []).append(once)
    seconds["watching the validation"] = _watching(network, data, repeats)
    epoch = statistics.median(steps) * data.steps_per_epoch
    seconds["all"] = [sum(turn) for turn in zip(*seconds.values(), strict=True)]
    rows = []
    for look, took in seconds.items():
        share = [100 * each / epoch for each in took]
        rows.append(
            Row(
                f"{name}, after each epoch: {look}",
                statistics.median(took),
                epoch,
                "s",
                statistics.median(share),
                (min(share), max(share)),
                "% of the epoch's training steps",
            )
        )
    return rows


def _look(network: nn.Sequential, data: Caltech101, folder: Path) -> dict[str, float]:
    """Seconds that each callback says it took at the end of an epoch of one batch."""
    model = Classifier(network, len(data.class_names), OptimSettings(), 1)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, limit_train_batches=1, limit_val_batches=1, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
        callbacks=visualization_callbacks(VizSettings(sensitivity=False), data, build_probes(data, []), folder, max_epochs=1),
    )  # fmt: skip
    trainer.fit(model, data)
    found = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return {key.removeprefix("seconds/"): value for key, value in found.items() if key.startswith("seconds/")}


def _watching(network: nn.Sequential, data: Caltech101, repeats: int) -> list[float]:
    """Seconds that looking for the strongest activations adds to an epoch's validation, on as many batches of noise."""
    count = -(-len(data.split.val) // BATCH)
    batches = [batch(data.image_size)[0].contiguous(memory_format=torch.channels_last) for _ in range(count)]
    evaluated = pool_before_relu(network.eval())

    @torch.no_grad()
    def plain() -> None:
        for images in batches:
            evaluated(images)

    @torch.no_grad()
    def watched() -> None:
        with TopActivationHooks(network, convolution_layers(network)) as watch:
            for number, images in enumerate(batches):
                watch.set_batch_indices(torch.arange(len(images)) + number * BATCH)
                evaluated(images)

    with_it, without = in_turns([watched, plain], repeats)
    return [one - other for one, other in zip(with_it, without, strict=True)]
