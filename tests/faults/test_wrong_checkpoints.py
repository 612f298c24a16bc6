"""What can't be resumed is told before training, in one line that says what it is and what to use."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from configs import OptimSettings, Settings, SettingsError
from configs.parser import parse, plain
from datamodules.datamodule import ImageDataModule
from experiment.checkpoint_io import AtomicCheckpointIO, checkpoint_callbacks
from experiment.csv_recorder import CSVRecorder
from experiment.resume import check_checkpoint, describe_changes
from lightning_modules.checkpoints import read_checkpoint
from lightning_modules.classifier import Classifier
from tests.faults.random_input import SEED, number, tried
from tests.small_network import small_network

SETTINGS = parse(["data=shapes", "trainer.max_epochs=2"])
Check = Callable[[Path, Settings], int]


def build_classifier(class_names: list[str]) -> Classifier:
    metadata = {"settings": plain(SETTINGS), "class_names": class_names, "precision": "32-true"}
    optim = OptimSettings(name="sgd", lr=0.01)
    return Classifier(small_network(), 8, optim, steps_per_epoch=3, seed=1, checkpoint_metadata=metadata)


@pytest.fixture
def run(shapes: ImageDataModule, make_trainer: Callable[..., Trainer], tmp_path: Path) -> Path:
    """The folder of a run of two epochs."""
    folder = tmp_path / "run"
    folder.mkdir()
    callbacks = [CSVRecorder(folder, "title"), *checkpoint_callbacks(folder / "checkpoints", has_validation=True)]
    trainer = make_trainer(2, callbacks, enable_checkpointing=True, plugins=[AtomicCheckpointIO()])
    trainer.fit(build_classifier(shapes.class_names), shapes)
    return folder


@pytest.fixture
def check(run: Path, shapes: ImageDataModule) -> Check:
    callbacks = [CSVRecorder(run, "title"), *checkpoint_callbacks(run / "checkpoints", has_validation=True)]

    def check(path: Path, settings: Settings) -> int:
        classifier = build_classifier(shapes.class_names)
        return check_checkpoint(path, settings, "32-true", classifier, shapes.class_names, callbacks)

    return check


def changed(checkpoint: dict[str, Any], what: str) -> Any:
    """A checkpoint that is wrong in one way."""
    wrong: Any = dict(checkpoint)
    match what:
        case "a list":
            return [1, 2]
        case "a tensor":
            return torch.ones(3)
        case "weights":
            return checkpoint["state_dict"]
        case "no optimiser" | "no loops" | "no callbacks" | "no settings":
            del wrong[{"optimiser": "optimizer_states"}.get(what[3:], what[3:])]
        case "an empty optimiser":
            wrong["optimizer_states"] = []
        case "version x":
            wrong["pytorch-lightning_version"] = "x"
        case "other callbacks":
            wrong["callbacks"] = {"Another": {}}
        case "no rows":
            wrong["callbacks"] = checkpoint["callbacks"] | {"CSVRecorder": {"rows": []}}
        case "5 classes":
            wrong["class_names"] = checkpoint["class_names"][:5]
        case "a layer missing":
            wrong["state_dict"] = dict(list(checkpoint["state_dict"].items())[1:])
        case "another shape":
            wrong["state_dict"] = {name: each.new_zeros(3, 3) for name, each in checkpoint["state_dict"].items()}
        case "a layer more":
            wrong["state_dict"] = checkpoint["state_dict"] | {"network.conv9.weight": torch.ones(1)}
        case "another precision":
            wrong["precision"] = "bf16-mixed"
        case "another rate":
            wrong["settings"] = plain(parse(["data=shapes", "optim.lr=0.5"]))
    return wrong


ANSWERS = {
    "a list": "holds a list, so it is no checkpoint", "a tensor": "holds a Tensor, so it is no checkpoint",
    "weights": "is no checkpoint of this project: it has no epoch", "no optimiser": "holds weights only",
    "no loops": "it has no loops", "no callbacks": "it has no callbacks", "no settings": "it has no settings",
    "an empty optimiser": "no state of the optimiser", "version x": "is of no version of Lightning: x",
    "other callbacks": "lacks what CSVRecorder", "no rows": "has 2 epochs behind it, but other rows",
    "5 classes": "was trained on 5 classes", "a layer missing": "holds another network", "another shape": "has another shape",
    "a layer more": "network.conv9.weight is not in this one", "another precision": "add trainer.precision=bf16-mixed",
    "another rate": "optim.lr (was 0.5) can't change",
}  # fmt: skip


def test_each_wrong_checkpoint_is_one_line_and_the_right_one_is_none(run: Path, check: Check) -> None:
    own = run / "checkpoints/last.ckpt"
    checkpoint = read_checkpoint(own)
    assert check(own, SETTINGS) == 2
    for what, answer in ANSWERS.items():
        wrong = run / "checkpoints/wrong.ckpt"
        torch.save(changed(checkpoint, what), wrong)
        with pytest.raises(SettingsError) as caught:
            check(wrong, SETTINGS)
        assert answer in str(caught.value), what
        assert str(caught.value).isprintable()
    with pytest.raises(SettingsError) as caught:
        check(run / "checkpoints/best.ckpt", SETTINGS)
    assert str(caught.value).endswith(f"best.ckpt holds weights only, from which nothing can be resumed; use {own}")
    best = own.rename(own.with_name("elsewhere.ckpt")).with_name("best.ckpt")
    with pytest.raises(SettingsError, match=rf"nothing can be resumed; start anew with model.weights={best}$"):
        check(best, SETTINGS)


tried["test_a_flipped_byte_anywhere_is_refused_or_changes_nothing"] = number(200)


def test_a_flipped_byte_anywhere_is_refused_or_changes_nothing(run: Path, check: Check) -> None:
    own, damaged = run / "checkpoints/last.ckpt", run / "checkpoints/damaged.ckpt"
    whole, tensors, rng, refused = own.read_bytes(), read_checkpoint(own)["state_dict"], random.Random(SEED), 0
    for _ in range(number(200)):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(content)
        try:
            read = read_checkpoint(damaged)
        except SettingsError:
            refused += 1
        else:  # padding, dates and other bytes that hold nothing
            assert all(torch.equal(tensor, read["state_dict"][name]) for name, tensor in tensors.items())
            assert check(damaged, SETTINGS) == 2
    assert refused > number(200) / 2


def test_a_torch_load_alone_would_not_notice(tmp_path: Path) -> None:
    """Why checksums are compared: a flipped bit in a tensor is read as if nothing were wrong."""
    file = tmp_path / "a.ckpt"
    torch.save({"weights": torch.zeros(1000)}, file)
    content = bytearray(file.read_bytes())
    content[content.index(bytes(4000)) + 2000] = 1
    file.write_bytes(content)
    assert torch.load(file, weights_only=True)["weights"].any()
    with pytest.raises(SettingsError, match="not a readable checkpoint"):
        read_checkpoint(file)


def test_changes_are_told_with_what_follows_from_them(run: Path, check: Check) -> None:
    assert check(run / "checkpoints/last.ckpt", parse(["data=shapes", "trainer.max_epochs=9", "logger=none"])) == 2
    assert describe_changes((), 2) == "Resumed after epoch 2"
    assert "follow the schedule of so many epochs" in describe_changes(("trainer.max_epochs 2 -> 9",), 2)
    assert "schedule" not in describe_changes(("logger.name csv -> none",), 2)
    shutil.rmtree(run)
