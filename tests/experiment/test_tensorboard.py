"""What TensorBoard gets of a run, read back with its own reader; and that it stops no training."""

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from configs import LoggerSettings, SettingsError
from datamodules.datamodule import ImageDataModule
from experiment.csv_recorder import CSVRecorder
from experiment.dashboard import PANELS, picture_panel
from experiment.loggers import build_logger, check_logger
from experiment.run_folder import read_rows
from experiment.tensorboard_mirror import TensorBoardMirror
from lightning_modules.classifier import Classifier
from tests.faults.kill_chain import TINY, start

ALL = {"scalars": 0, "images": 0}


def read(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run / "tensorboard"), ALL).Reload()


def steps(run: Path) -> dict[str, list[int]]:
    """At which epochs each key has a value."""
    found = read(run)
    tags = found.Tags()
    return {tag: [each.step for each in found.Scalars(tag)] for tag in tags["scalars"]} | {
        tag: [each.step for each in found.Images(tag)] for tag in tags["images"]
    }


def picture(file: Path, side: int = 40) -> Path:
    """A picture of noise, which no format makes small."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, 2 * side, 3), np.uint8)
    Image.fromarray(pixels).save(file, quality=95)
    return file


def logger_in(run: Path) -> TensorBoardMirror:
    logger = build_logger(LoggerSettings(name="tensorboard"), run, {"optim.lr": 0.5, "data.train_sizes": [67], "name": None})
    assert isinstance(logger, TensorBoardMirror)
    return logger


def logger_after_a_restart(run: Path) -> TensorBoardMirror:
    """That of another process, which begins later: TensorBoard orders its files by the second in their names."""
    time.sleep(1.1)
    return logger_in(run)


def log_epoch(logger: TensorBoardMirror, epoch: int, file: Path, loss: float) -> None:
    logger.log_pictures(
        {"denet/star": (file, "a caption"), "overview/each/star": (file, "another")}, {"range/denet/star/maps": 0.25}
    )
    logger.log_metrics({"epoch": float(epoch), "val/loss": loss})


def test_rows_and_pictures_have_the_keys_and_the_epoch_and_the_files_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, file = logger_in(tmp_path), picture(tmp_path / "star.jpg")
    log_epoch(logger, 1, file, 2.0)
    log_epoch(logger, 2, file, 1.5)
    assert steps(tmp_path)["val/loss"] == [1, 2], "they are on the disk before the run has ended"
    logger.finish({"final/test/accuracy": 0.75, "command": "python train.py"})
    assert steps(tmp_path) == {
        "epoch": [1, 2], "val/loss": [1, 2], "loss/val": [1, 2], "denet/star": [1, 2], "look/star": [1, 2],
        "final/test/accuracy": [2],
    }  # fmt: skip
    found = read(tmp_path)
    assert [each.value for each in found.Scalars("val/loss")] == [2.0, 1.5]
    shown = found.Images("denet/star")[0]
    assert (shown.encoded_image_string, shown.width, shown.height) == (file.read_bytes(), 80, 40)
    hparams = found.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert hparams.plugin_name == "hparams"
    assert b"optim.lr" in hparams.content
    assert f"--logdir {tmp_path / 'tensorboard'}" in capsys.readouterr().out


def test_a_resumed_run_goes_on_in_the_same_folder_with_each_epoch_once(tmp_path: Path) -> None:
    """Killed between the row of epoch 3 and its checkpoint; nothing closes the first files."""
    file = picture(tmp_path / "star.jpg")
    first = logger_in(tmp_path)
    for epoch in (1, 2, 3):
        log_epoch(first, epoch, file, 10.0 * epoch)
    second = logger_after_a_restart(tmp_path)
    assert second.last_epoch == 3, "so that no earlier row is sent once more"
    for epoch in (3, 4):
        log_epoch(second, epoch, file, 1.0 * epoch)
    second.finish({})
    assert set(map(tuple, steps(tmp_path).values())) == {(1, 2, 3, 4)}
    assert [each.value for each in read(tmp_path).Scalars("val/loss")] == [10.0, 20.0, 3.0, 4.0]


@pytest.mark.parametrize("note", ["", "x", None])
def test_a_damaged_note_counts_as_none(note: str | None, tmp_path: Path) -> None:
    logger = logger_in(tmp_path)
    log_epoch(logger, 1, picture(tmp_path / "star.jpg"), 1.0)
    file = tmp_path / "tensorboard/last-epoch"
    file.unlink() if note is None else file.write_text(note)
    assert logger.last_epoch == 0


def test_what_looks_like_a_variable_in_the_folders_name_is_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_PLACE", str(tmp_path / "elsewhere"))
    run = tmp_path / "$RUN_PLACE"
    run.mkdir()
    log_epoch(logger_in(run), 1, picture(tmp_path / "star.jpg"), 1.0)
    assert steps(run)["val/loss"] == [1]


class LogsPictures(Callback):
    """Hands the same picture to the logger after each epoch."""

    def __init__(self, logger: TensorBoardMirror, file: Path) -> None:
        self.logger, self.file = logger, file

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.logger.log_pictures({"denet/star": (self.file, "")}, {})


def fill_the_disk(run: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def take_the_folder(run: Path) -> None:
    (run / "tensorboard").write_text("a file where the folder would be")


def delete_the_picture(run: Path) -> None:
    (run / "star.jpg").unlink()


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [(fill_the_disk, "OSError: [Errno 27] File too large"), (take_the_folder, "FileExistsError"),
     (delete_the_picture, "FileNotFoundError")],
)  # fmt: skip
def test_a_writer_that_fails_is_one_warning_and_the_training_goes_on(
    break_it: Callable[[Path], None], reason: str, tmp_path: Path, shapes: ImageDataModule, classifier: Classifier,
    make_trainer: Callable[..., Trainer], capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    logger, file = logger_in(tmp_path), picture(tmp_path / "star.jpg", side=400)
    assert file.stat().st_size > 300_000
    recorder = CSVRecorder(tmp_path, "title")
    trainer = make_trainer(3, [LogsPictures(logger, file), recorder], logger=logger)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        break_it(tmp_path)
        trainer.fit(classifier, shapes)
        logger.finish({"final/test/accuracy": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [row["epoch"] for row in read_rows(tmp_path / "metrics.csv")] == [1, 2, 3]
    printed = capfd.readouterr()
    lines = [line for line in printed.out.splitlines() if line.startswith("TensorBoard")]
    assert lines[0].startswith(f"TensorBoard is off for the rest of this run ({reason}")
    assert lines[0].endswith(f"The run's own record goes on in {tmp_path}")
    assert lines[1].startswith("TensorBoard has only a part of this run")
    assert len(lines) == 2
    assert "Traceback" not in printed.err


def test_a_resumed_run_sends_what_an_earlier_failure_left_out(
    tmp_path: Path, classifier: Classifier, make_trainer: Callable[..., Trainer]
) -> None:
    """Or what was trained with another logger."""
    log_epoch(logger_in(tmp_path), 1, picture(tmp_path / "star.jpg"), 1.0)
    second, recorder = logger_after_a_restart(tmp_path), CSVRecorder(tmp_path, "title")
    recorder.load_state_dict({"rows": [{"epoch": epoch, "val/loss": 9.0, "seconds": 1.0} for epoch in (1, 2, 3)]})
    recorder.on_train_start(make_trainer(4, [], logger=second), classifier)
    found = read(tmp_path)
    assert [(each.step, each.value) for each in found.Scalars("val/loss")] == [(1, 1.0), (2, 9.0), (3, 9.0)]
    assert [each.step for each in found.Images("denet/star")] == [1]
    assert second.last_epoch == 3


def test_without_tensorboard_one_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check_logger(LoggerSettings(name="tensorboard"))
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(SettingsError, match=r"logger=tensorboard: TensorBoard is not installed; pip install -e '.\[tensorb"):
        check_logger(LoggerSettings(name="tensorboard"))
    assert train.main(["logger=tensorboard", "data=shapes", f"runs={tmp_path / 'runs'}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_training_killed_and_resumed_is_whole_in_tensorboard(tmp_path: Path) -> None:
    """The keys of the curves are the columns of the run's own record, those of the pictures their places in its folder."""
    run = tmp_path / "run"
    words = [*TINY, "logger=tensorboard", f"runs={tmp_path}", "name=run"]
    status, output = start(*words, kill=("before checkpoint", 2))
    assert status < 0, output
    assert steps(run)["val/loss"] == [1, 2], "the row came before the checkpoint"
    status, output = start(f"resume={run}")
    assert status == 0, output
    assert "TensorBoard: tensorboard " in output.splitlines()[-1]
    assert len(list((run / "tensorboard").glob("events.out.tfevents.*"))) == 2
    found = steps(run)
    columns = set(read_rows(run / "metrics.csv")[-1])
    files = [file for file in (run / "pictures").glob("*/index.json") if file.parent.name != "probes"]
    indices = {file.parent.name: json.loads(file.read_text()) for file in files}
    sheets = {f"{kind}/{entry['place']}" for kind, index in indices.items() for entry in index.get("3", [])}
    assert len(sheets) > 5
    sheets = {picture_panel(key) or key for key in sheets}
    panels = {PANELS[name] for name in columns & PANELS.keys()}
    assert {key for key in found if not key.startswith("final/")} == columns | sheets | panels
    assert all(found[key] == [1, 2, 3] for key in columns | sheets | panels)
    assert found["final/test/accuracy"] == [3]
    shutil.rmtree(run / "tensorboard")
    status, output = start(f"resume={run}", "trainer.max_epochs=4")
    assert status == 0, output
    assert steps(run)["val/loss"] == [1, 2, 3, 4], "all rows are sent where TensorBoard knows none"
    assert steps(run)[min(sheets)] == [4]
