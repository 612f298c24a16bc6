"""The run's record: one row for each epoch, whole at any moment, and a stop when the loss explodes."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import SingleDeviceStrategy
from PIL import Image

from configs import OptimSettings
from datamodules.datamodule import ImageDataModule
from experiment.csv_recorder import CSVRecorder, format_duration, format_epoch, write_rows
from experiment.divergence import DivergedError, StopOnDivergence
from experiment.run_folder import read_rows
from experiment.summary import format_summary, summary
from lightning_modules.classifier import Classifier
from tests.small_network import small_network
from viz_callbacks.callbacks import FilterMetricsLogger


def test_a_row_for_each_epoch_on_disk_on_the_terminal_and_in_the_logger(
    classifier: Classifier,
    shapes: ImageDataModule,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = CSVRecorder(tmp_path, "small network on shapes")
    logger = CSVLogger(tmp_path, name="csv", version="", flush_logs_every_n_steps=1)
    make_trainer(3, [record], logger=logger).fit(classifier, shapes)
    rows = read_rows(tmp_path / "metrics.csv")
    assert rows == record.rows
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(0 <= row[f"{part}/accuracy"] <= 1 for row in rows for part in ("train", "val", "test"))
    assert rows[0]["lr"] > rows[2]["lr"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.split(" | ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "test loss" in lines[0]
    assert "left" in lines[0]
    assert "left" not in lines[2]
    assert [row["test/loss"] for row in read_rows(tmp_path / "csv" / "metrics.csv")] == [row["test/loss"] for row in rows]
    assert Image.open(tmp_path / "curves.png").size[0] > 500
    assert not list(tmp_path.glob(".*partial"))


def test_an_epoch_has_no_figure_that_was_not_measured_in_it(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    record = CSVRecorder(tmp_path, "t")
    make_trainer(5, [FilterMetricsLogger(every_n_epochs=2), record]).fit(classifier, shapes)
    rows = read_rows(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in rows if "learned/conv1" in row] == [2, 4, 5]
    assert all("test/accuracy" in row and "train/loss" in row for row in rows)


def test_rows_before_an_interruption_are_kept_once_and_sent_to_the_logger_again(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    earlier = CSVRecorder(tmp_path, "t")
    earlier.rows = [{"epoch": 1, "seconds": 1.0, "test/loss": 9.0}]
    write_rows([*earlier.rows, {"epoch": 2, "seconds": 1.0, "test/loss": 8.0}], tmp_path / "metrics.csv")
    record = CSVRecorder(tmp_path, "t")
    record.load_state_dict(earlier.state_dict())
    logger = CSVLogger(tmp_path, name="csv", version="", flush_logs_every_n_steps=1)
    make_trainer(1, [record], logger=logger).fit(classifier, shapes)
    assert len(record.rows) == 2
    assert read_rows(tmp_path / "metrics.csv")[0]["test/loss"] == 9
    assert len(read_rows(tmp_path / "csv" / "metrics.csv")) == 2


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 47.0])
def test_a_loss_that_explodes_stops_the_run_at_once(loss: float, classifier: Classifier) -> None:
    stop = StopOnDivergence(num_classes=8)  # as for a hundred, log 100 = 4.61

    trainer = cast(Trainer, SimpleNamespace(current_epoch=4, strategy=SingleDeviceStrategy()))
    stop.on_train_batch_end(trainer, classifier, {"loss": torch.tensor(46.0)}, None, 2)
    with pytest.raises(DivergedError, match="in batch 3 of epoch 5"):
        stop.on_train_batch_end(trainer, classifier, {"loss": torch.tensor(loss)}, None, 2)


def test_too_high_a_rate_diverges(shapes: ImageDataModule, make_trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    model = Classifier(small_network(), 8, OptimSettings(name="sgd", lr=1e6, clip=0, warmup_epochs=0), shapes.steps_per_epoch)
    record = CSVRecorder(tmp_path, "t")
    with pytest.raises(DivergedError, match=r"loss .* in batch . of epoch"):
        make_trainer(5, [StopOnDivergence(8), record]).fit(model, shapes)
    figures = summary(record.rows, {}, {}, "loss nan in batch 2 of epoch 1", 1.0, {"version": "1"})
    assert figures["diverged"] is True
    assert "diverged, loss nan in batch 2 of epoch 1. A lower optim.lr" in format_summary(figures, record.rows, tmp_path)


def test_lines_for_people(tmp_path: Path) -> None:
    assert [format_duration(seconds) for seconds in (5, 89, 600, 11100)] == ["5 s", "89 s", "10 min", "3 h 05 min"]
    names = [f"{part}/{name}" for part in ("train", "val", "test") for name in ("loss", "accuracy", "top5", "mean_per_class")]
    rows = [{"epoch": epoch, "seconds": 60.0, **dict.fromkeys(names, value)} for epoch, value in ((1, 0.5), (2, 0.4))]
    assert format_epoch(rows, 10).endswith("| 60 s, 8 min left")
    final = {f"final/{part}/{name}": 0.6 for part in ("train", "test") for name in ("accuracy", "top5", "mean_per_class")}
    figures = summary(rows, final, {"accuracy": 0.36, "mean_per_class": 0.13}, None, 120.0, {"test_crops": True})
    lines = format_summary(figures, rows, tmp_path)
    assert "After 2 epochs in 2 min" in lines
    assert re.search("test images, by ten crops +top-1 60.00 %, top-5 60.00 %, mean per class 60.00 %", lines)
    assert re.search("test images, in one view +top-1 40.00 %, top-5 40.00 %, mean per class 40.00 %", lines)
    assert re.search("by size, greyness and corners alone +top-1 36.00 %, mean per class 13.00 %", lines)
    assert "Best on the validation images: epoch 1 with 50.00 %" in lines
    assert "Open first" not in lines, "there are no pictures"
    for epoch in (9, 10):
        overview = tmp_path / f"pictures/overview/all/epoch-{epoch:03d}.jpg"
        overview.parent.mkdir(parents=True, exist_ok=True)
        overview.touch()
    assert f"Open first: {overview}, " in format_summary(figures, rows, tmp_path)


def test_a_row_with_new_columns_widens_the_file(tmp_path: Path) -> None:
    rows = [{"epoch": 1.0, "a": 0.5}, {"epoch": 2.0, "b": 0.25}]
    write_rows(rows, tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text() == "epoch,a,b\n1.0,0.5,\n2.0,,0.25\n"
    assert read_rows(tmp_path / "metrics.csv") == rows
