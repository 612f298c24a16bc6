"""What a run's pictures and metrics add to an epoch at full size, callback by callback."""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
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
from viz_callbacks.callbacks import Probes
from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.metrics.top_activations import TopActivationHooks

FORWARD_PASS = "forward pass of the probes"
VALIDATION_HOOKS = "hooks during the validation"
EPOCHS = 2  # planned


def pictures(name: str, repeats: int) -> list[Row]:
    """Time all that a run looks at by default after each epoch, files written, against the epoch's training steps in float32.

    The forward pass of the probes, which all callbacks share, has a row of its own. A projection that two callbacks show counts
    for the first of them.
    """
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
            for part, took in _seconds_by_callback(network, data, Path(folder)).items():
                seconds.setdefault(part, []).append(took)
    seconds[VALIDATION_HOOKS] = _seconds_of_hooks(network, data, repeats)
    seconds["all"] = [sum(turn) for turn in zip(*seconds.values(), strict=True)]
    epoch = statistics.median(steps) * data.steps_per_epoch
    return [_row(f"{name}, after each epoch: {part}", took, epoch) for part, took in seconds.items()]


def _row(name: str, seconds: list[float], epoch: float) -> Row:
    shares = [100 * each / epoch for each in seconds]
    spread = (min(shares), max(shares))
    return Row(
        name, statistics.median(seconds), epoch, "s", statistics.median(shares), spread, "% of the epoch's training steps"
    )


class _ForwardPass(Callback):
    """Runs the probes through the network before any other callback asks for it, and logs the seconds as these do.

    It ends the training after its first epoch, which is not the last one planned: after that one more is shown.
    """

    def __init__(self, probes: Probes) -> None:
        self.probes = probes

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        started = time.monotonic()
        with torch.inference_mode():
            _ = self.probes.snapshot(pl_module.get_submodule("network"), trainer).traces
        pl_module.log(f"seconds/{FORWARD_PASS}", time.monotonic() - started, logger=False)
        trainer.should_stop = True


def _seconds_by_callback(network: nn.Sequential, data: Caltech101, folder: Path) -> dict[str, float]:
    """Return the seconds that each callback says it took at the end of an epoch of one batch."""
    model = Classifier(network, len(data.class_names), OptimSettings(), 1)
    probes = build_probes(data, [])
    callbacks = visualization_callbacks(VizSettings(sensitivity=False), data, probes, folder, max_epochs=EPOCHS)
    trainer = Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, limit_train_batches=1, limit_val_batches=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=[_ForwardPass(probes), *callbacks],
    )  # fmt: skip
    trainer.fit(model, data)
    found = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return {key.removeprefix("seconds/"): value for key, value in found.items() if key.startswith("seconds/")}


def _seconds_of_hooks(network: nn.Sequential, data: Caltech101, repeats: int) -> list[float]:
    """Return the seconds that collecting top activations adds to an epoch's validation, on as many batches of noise."""
    count = -(-len(data.split.val) // BATCH)
    batches = [batch(data.image_size)[0].contiguous(memory_format=torch.channels_last) for _ in range(count)]
    evaluated = pool_before_relu(network.eval())

    @torch.no_grad()
    def without_hooks() -> None:
        for images in batches:
            evaluated(images)

    @torch.no_grad()
    def with_hooks() -> None:
        with TopActivationHooks(network, convolution_layers(network)) as hooks:
            for number, images in enumerate(batches):
                hooks.set_batch_indices(torch.arange(len(images)) + number * BATCH)
                evaluated(images)

    seconds = in_turns([with_hooks, without_hooks], repeats)
    return [one - other for one, other in zip(*seconds, strict=True)]
