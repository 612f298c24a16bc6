"""What a run takes of the disk, compared with the files themselves; and what stays of its checkpoints when it has ended."""

import os
import shutil
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch import nn

import train
from configs import ModelSettings, OptimSettings, SettingsError
from configs.parser import parse, plain
from datamodules.datamodule import ImageDataModule
from experiment.checkpoint_io import AtomicCheckpointIO, checkpoint_callbacks
from experiment.csv_recorder import CSVRecorder
from experiment.disk import CheckpointSizes, check_disk, checkpoint_sizes, format_bytes, keep_weights
from lightning_modules.checkpoints import read_checkpoint
from lightning_modules.classifier import Classifier
from lightning_modules.networks.registry import build_network

OPTIMISERS = [OptimSettings(), OptimSettings(name="sgd", lr=0.01), OptimSettings(name="sgd", lr=0.01, momentum=0)]
Usage = namedtuple("Usage", "total used free")
PLENTY = 10**15


def dense_network() -> nn.Sequential:
    """Half a million weights, so that all else in a checkpoint is small beside them."""
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 8, 7, stride=4), act1=nn.ReLU(), pool1=nn.AdaptiveMaxPool2d(8), flatten=nn.Flatten(),
        fc2=nn.Linear(512, 1000), act2=nn.ReLU(), fc3=nn.Linear(1000, 8),
    )  # fmt: skip
    return nn.Sequential(layers)


def trained(folder: Path, optim: OptimSettings, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]) -> Classifier:
    """A run of two epochs in a folder."""
    folder.mkdir()
    metadata = {"settings": plain(parse(["data=shapes"])), "class_names": shapes.class_names, "precision": "32-true"}
    classifier = Classifier(dense_network(), 8, optim, steps_per_epoch=3, seed=1, checkpoint_metadata=metadata)
    callbacks = [CSVRecorder(folder, "title"), *checkpoint_callbacks(folder / "checkpoints", has_validation=True)]
    trainer = make_trainer(2, callbacks, enable_checkpointing=True, plugins=[AtomicCheckpointIO()])
    trainer.fit(classifier, shapes)
    return classifier


@pytest.fixture
def run(tmp_path: Path, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]) -> Path:
    trained(tmp_path / "run", OPTIMISERS[0], shapes, make_trainer)
    return tmp_path / "run"


@pytest.mark.parametrize("optim", OPTIMISERS, ids=["adamw", "momentum", "plain"])
def test_the_sizes_foretold_are_those_of_the_files(
    optim: OptimSettings, tmp_path: Path, shapes: ImageDataModule, make_trainer: Callable[..., Trainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, together, replace = tmp_path / "run", [], os.replace

    def replace_and_measure(source: Path, target: Path) -> None:
        """At this moment the old file and the new one are both there."""
        together.append(sum(file.stat().st_size for file in folder.glob("checkpoints/*")))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_and_measure)
    sizes = checkpoint_sizes(trained(folder, optim, shapes, make_trainer), optim, "32-true")
    weights, last = ((folder / "checkpoints" / name).stat().st_size for name in ("best.ckpt", "last.ckpt"))
    assert sizes.weights == pytest.approx(weights, rel=0.03)
    assert sizes.last == pytest.approx(last, rel=0.03)
    assert sizes.largest(epochs=2, has_validation=True) == pytest.approx(max(together), rel=0.03)
    assert sizes.weights < weights
    assert sizes.last < last
    for keep in ("last", "best", "all", "none"):
        shutil.copytree(folder, tmp_path / keep)
        keep_weights(tmp_path / keep, keep)
        left = sum(file.stat().st_size for file in (tmp_path / keep / "checkpoints").iterdir())
        assert sizes.left(keep, has_validation=True) == pytest.approx(left, rel=0.03)


def test_alexnet_leaves_235_megabytes() -> None:
    with torch.device("meta"):
        network = build_network(ModelSettings(), 101)
    classifier = Classifier(network, 101, OptimSettings(filter_rate=0), steps_per_epoch=1)
    sizes = checkpoint_sizes(classifier, OptimSettings(), "bf16-mixed")
    assert [format_bytes(sizes.left(keep, True)) for keep in ("last", "best", "all", "none")] == [
        "235 MB", "235 MB", "939 MB", "0 MB",
    ]  # fmt: skip
    assert format_bytes(sizes.largest(64, True)) == "1.6 GB"


@pytest.mark.parametrize(
    ("keep", "names", "of"),
    [("last", ["weights.ckpt"], "last.ckpt"), ("best", ["best.ckpt"], "best.ckpt"), ("none", [], ""),
     ("all", ["best.ckpt", "last.ckpt"], "last.ckpt")],
)  # fmt: skip
def test_what_stays_of_a_run_that_has_ended(keep: str, names: list[str], of: str, run: Path) -> None:
    before = {file.name: read_checkpoint(file) for file in run.glob("checkpoints/*")}
    (run / "checkpoints/weights.ckpt").write_bytes(b"of an earlier end")
    (run / "checkpoints/.best.ckpt.partial").write_bytes(b"of a process that was killed")
    for _ in range(2):  # the second time it changes nothing
        keep_weights(run, keep)
        assert sorted(os.listdir(run / "checkpoints")) == names
    if keep == "all":
        assert read_checkpoint(run / "checkpoints/last.ckpt")["optimizer_states"]
    for name in names[:1]:
        after = read_checkpoint(run / "checkpoints" / name)
        assert "optimizer_states" not in after
        assert (after["settings"], after["class_names"]) == (
            before["last.ckpt"]["settings"],
            before["last.ckpt"]["class_names"],
        )
    if keep == "last":
        weights = before[of]["state_dict"]
        assert after["state_dict"].keys() == weights.keys()
        assert all(torch.equal(value, weights[name]) for name, value in after["state_dict"].items())


def test_without_a_best_epoch_the_last_one_is_kept(run: Path) -> None:
    (run / "checkpoints/best.ckpt").unlink()
    keep_weights(run, "best")
    assert os.listdir(run / "checkpoints") == ["weights.ckpt"]


def test_where_the_weights_cant_be_written_the_run_keeps_all_that_resuming_needs(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(checkpoint: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left on device: .*weights.ckpt"):
        keep_weights(run, "last")
    assert os.listdir(run / "checkpoints") == ["last.ckpt"]
    assert read_checkpoint(run / "checkpoints/last.ckpt")["optimizer_states"]


def test_a_damaged_last_checkpoint_is_left_for_people(run: Path) -> None:
    last = run / "checkpoints/last.ckpt"
    damaged = bytearray(last.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    last.write_bytes(damaged)
    with pytest.raises(SettingsError, match="not a readable checkpoint"):
        keep_weights(run, "last")
    assert last.read_bytes() == damaged


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(PLENTY, PLENTY - count, count))


def test_a_disk_is_too_small_only_where_the_checkpoints_cant_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, runs = CheckpointSizes(weights=100_000_000, last=300_000_000), f"runs={tmp_path / 'not/there/yet'}"
    settings = parse([runs, "logger=none", "trainer.max_epochs=10", "viz.every_n_epochs=5"])
    free(monkeypatch, 2 * 300_000_000 + 100_000_000 - 1)
    with pytest.raises(
        SettingsError, match=r"the checkpoints take at least 700 MB .* only 700 MB are free; make room, or .*runs="
    ):
        check_disk(settings, sizes, True, None)
    check_disk(settings, sizes, False, None)  # there is no best epoch
    check_disk(parse([runs, "trainer.max_epochs=1"]), sizes, True, None)  # nothing is replaced
    free(monkeypatch, 700_000_000)
    line = check_disk(settings, sizes, True, None)
    assert "checkpoints of about 700 MB while it trains, 100 MB when it has ended (trainer.keep=last); 700 MB are free" in line
    assert "may be too small: pictures take up to about 14 MB more" in line, "two looks"
    free(monkeypatch, 714_000_000)
    assert "too small" not in check_disk(settings, sizes, True, None)
    settings.logger.name = "tensorboard"
    assert "28 MB more" in check_disk(settings, sizes, True, None), "which copies them"


def test_a_resumed_run_needs_only_what_it_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name, size in (("best.ckpt", 1_000_000), ("last.ckpt", 3_000_000)):
        (tmp_path / "checkpoints" / name).write_bytes(bytes(size))
    sizes = CheckpointSizes(weights=1_000_000, last=3_000_000)
    free(monkeypatch, 3_000_000)
    check_disk(parse([]), sizes, True, tmp_path)
    free(monkeypatch, 2_999_999)
    with pytest.raises(SettingsError, match=rf"{tmp_path}: the checkpoints take at least 7 MB"):
        check_disk(parse([]), sizes, True, tmp_path)


@pytest.mark.slow
def test_a_run_that_would_fill_the_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free(monkeypatch, 1_500_000_000)
    small = ["data=shapes", "data.image_size=67", "data.train_sizes=[67]", "data.images_per_class=10", "logger=none"]
    assert train.main([*small, "data.batch_size=8", f"runs={tmp_path / 'runs'}"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(
        f"train.py: {tmp_path / 'runs'}: the checkpoints take at least 1.6 GB while the network trains"
    )
    assert (len(printed.err.splitlines()), printed.out) == (1, "")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_best_epoch_needs_validation_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["data=shapes", "data.image_size=67", "data.train_sizes=[67]", "data.images_per_class=10", "logger=none"]
    words = ["data.batch_size=8", "data.val_fraction=0", "trainer.keep=best", f"runs={tmp_path / 'runs'}"]
    assert train.main([*small, *words]) == 2
    assert "trainer.keep=best: no validation images" in capsys.readouterr().err


def test_sizes_are_told_as_people_read_them() -> None:
    assert [format_bytes(count) for count in (0, 234_600_000, 999_499_999, 999_500_000, 1_640_000_000)] == [
        "0 MB", "235 MB", "999 MB", "1.0 GB", "1.6 GB",
    ]  # fmt: skip
