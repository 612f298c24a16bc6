"""A tiny run's figures as they were, so that a change of behaviour is seen; and the same weights however many processes load.

A change that is meant changes ``GOLDEN`` with it, and has a line in CHANGELOG.md.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything

from configs import DataSettings, OptimSettings
from datamodules.registry import build_datamodule
from experiment.csv_recorder import CSVRecorder
from lightning_modules.classifier import Classifier
from tests.small_network import small_network

GOLDEN = [
    {"lr": 0.00256066, "train/loss": 2.11157, "val/loss": 2.08378, "test/loss": 2.09096, "test/top5": 0.625},
    {"lr": 0.0, "train/loss": 2.09313, "val/loss": 2.08025, "test/loss": 2.09212, "test/top5": 0.5625},
]


def train(
    make_trainer: Callable[..., Trainer], folder: Path, workers: int
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Two epochs in float64, where rounding can't be seen. Returns the rows and the weights."""
    seed_everything(1, verbose=False)
    settings = DataSettings(
        name="shapes", images_per_class=10, batch_size=16, train_sizes=[67, 75], cutmix=0.5, val_fraction=0.25, workers=workers
    )
    data = build_datamodule(settings, 67, seed=1)
    data.prepare_data()
    data.setup("fit")
    optim = OptimSettings(lr=0.003, warmup_epochs=0.5)
    model = Classifier(small_network(), len(data.class_names), optim, data.steps_per_epoch, seed=1)
    recorder = CSVRecorder(folder, "title")
    make_trainer(2, [recorder], precision="64-true").fit(model, data)
    return recorder.rows, {name: value.clone() for name, value in model.state_dict().items()}


def test_the_figures_are_as_they_were(make_trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    rows, _ = train(make_trainer, tmp_path, workers=0)
    found = [{name: row[name] for name in GOLDEN[0]} for row in rows]
    for row, golden in zip(found, GOLDEN, strict=True):
        assert row == pytest.approx(golden, rel=1e-4), f"now: {found}"


@pytest.mark.slow
def test_the_weights_are_the_same_with_any_number_of_loading_processes(
    make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    rows, weights = train(make_trainer, tmp_path, workers=0)
    for workers in (1, 2):
        other_rows, others = train(make_trainer, tmp_path, workers)
        assert weights.keys() == others.keys()
        assert all(torch.equal(value, others[name]) for name, value in weights.items()), workers
        assert [{k: v for k, v in row.items() if k != "seconds"} for row in other_rows] == [
            {k: v for k, v in row.items() if k != "seconds"} for row in rows
        ]
