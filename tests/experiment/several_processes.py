"""Trains the small network in one process and in several forked ones, for test_distributed.py.

A program of its own, since a fork is safe only where torch has started no threads yet. Writes what came out below the folder
that it is given.
"""

import json
import sys
from pathlib import Path
from typing import Literal

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything

from configs import DataSettings, OptimSettings
from datamodules.datasets import Batch
from datamodules.registry import build_datamodule
from experiment.csv_recorder import CSVRecorder
from experiment.distributed import TerminateWorkers
from experiment.divergence import StopOnDivergence
from experiment.visualization import build_probes, reference_images
from lightning_modules.classifier import Classifier
from tests.small_network import small_network
from viz_callbacks.callbacks import DeNetPictures, ProjectionMetricsLogger, TopActivationPictures

Precision = Literal["64-true", "32-true"]
PRECISIONS: tuple[Precision, ...] = ("64-true", "32-true")


class Seen(Callback):
    """Notes the sum of each training image that this process gets, and at the end the weights.

    The sum tells images and their augmentation apart.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sums: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self.sums += batch[0].double().sum((1, 2, 3)).tolist()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (self.folder / f"seen-{trainer.global_rank}.json").write_text(json.dumps(self.sums))
        torch.save(pl_module.state_dict(), self.folder / f"weights-{trainer.global_rank}.pt")


def train(processes: int, precision: Precision, folder: Path) -> None:
    """Two epochs and the evaluation at the end; figures, weights and the images seen go to ``folder``."""
    folder.mkdir(parents=True)
    seed_everything(1, verbose=False)
    settings = DataSettings(
        name="shapes", images_per_class=15, batch_size=24, train_sizes=[], cutmix=0.0, val_fraction=0.25, workers=0,
        test_crops=False,
    )  # fmt: skip
    data = build_datamodule(settings, 67, seed=1)
    data.prepare_data()
    data.setup("fit")
    probes = build_probes(data, ["circle", "star"])
    network = small_network()
    network.drop3 = torch.nn.Identity()  # each process drops other units
    optim = OptimSettings(lr=0.003, warmup_epochs=0.5)
    model = Classifier(network, len(data.class_names), optim, data.steps_per_epoch, seed=1)
    trainer = Trainer(
        accelerator="cpu", devices=processes, strategy="ddp_fork" if processes > 1 else "auto", precision=precision,
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, gradient_clip_val=5.0, default_root_dir=folder,
        callbacks=[
            StopOnDivergence(len(data.class_names)),
            DeNetPictures(folder / "denet", probes),
            TopActivationPictures(folder / "top_activations", reference_images(data), maps=2),
            ProjectionMetricsLogger(probes),
            CSVRecorder(folder, "small network"), Seen(folder), TerminateWorkers(),
        ],
    )  # fmt: skip
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    figures = {name: value.item() for name, value in trainer.callback_metrics.items()}
    (folder / "final.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for precision in PRECISIONS:
        for processes in (1, 2, 3):
            train(processes, precision, Path(sys.argv[1]) / f"{precision}-{processes}")
