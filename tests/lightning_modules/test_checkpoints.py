"""Checkpoints run no code when they are read, are refused in one line when damaged, and give the network back."""

import os
import pickle
import random
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from configs import ModelSettings, Settings, SettingsError
from experiment.checkpoint_io import AtomicCheckpointIO
from lightning_modules.checkpoints import load_network, read_checkpoint, weights_file
from lightning_modules.networks.registry import build_network


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("code-was-run",)


def test_a_checkpoint_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
    torch.save({"state_dict": Payload()}, tmp_path / "evil.ckpt", pickle_module=pickle)
    for load in (read_checkpoint, load_network, lambda path: AtomicCheckpointIO().load_checkpoint(path, weights_only=False)):
        with pytest.raises(SettingsError, match="not a readable checkpoint"):
            load(tmp_path / "evil.ckpt")
    assert not (tmp_path / "code-was-run").exists()


def test_a_missing_or_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "half.ckpt").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(SettingsError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "half.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(SettingsError, match="holds no network of this project"):
        load_network(tmp_path / "other.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_damaged_in_any_way_is_refused_or_read(zipped: bool, tmp_path: Path) -> None:
    file, rng = tmp_path / "damaged.ckpt", random.Random(1)
    checkpoint = {
        "epoch": 1,
        "state_dict": {"a": torch.ones(20), "b": torch.ones(2, 2)},
        "settings": {"x": 0.5, "y": [1, None]},
    }
    torch.save(checkpoint, file, _use_new_zipfile_serialization=zipped)
    whole, refused = file.read_bytes(), 0
    for turn in range(300):
        damaged = bytearray(whole[: rng.randrange(1, len(whole))] if turn % 3 == 0 else whole)
        for _ in range(turn % 5):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        file.write_bytes(damaged)
        try:
            read_checkpoint(file)
        except SettingsError:
            refused += 1
    assert refused > 100


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read: Is a directory"):
        read_checkpoint(tmp_path)


def test_a_runs_folder_means_its_last_weights_or_else_its_best(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"{tmp_path} has no weights: no epoch had ended, or .*trainer.keep"):
        weights_file(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name in ("best.ckpt", "weights.ckpt", "last.ckpt"):  # each is preferred to those before
        (tmp_path / "checkpoints" / name).touch()
        assert weights_file(tmp_path) == tmp_path / "checkpoints" / name
        assert weights_file(tmp_path / "checkpoints/best.ckpt").name == "best.ckpt", "a file means itself"
    with pytest.raises(SettingsError, match=r"no such checkpoint; there is best.ckpt and last.ckpt and weights.ckpt"):
        read_checkpoint(tmp_path / "checkpoints/none.ckpt")


@pytest.mark.slow
def test_the_network_comes_back_as_it_was(tmp_path: Path) -> None:
    model = ModelSettings(name="zfnet", norm="batch")
    network = build_network(model, 3)
    settings = asdict(Settings(model=model))
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"settings": settings, "class_names": ["a", "b", "c"], "state_dict": weights}, tmp_path / "best.ckpt")
    loaded, class_names = load_network(tmp_path / "best.ckpt")
    assert class_names == ["a", "b", "c"]
    assert not loaded.training
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "best.ckpt").rename(tmp_path / "run/checkpoints/best.ckpt")
    of_folder, _ = load_network(tmp_path / "run")
    assert all(torch.equal(value, of_folder.state_dict()[name]) for name, value in loaded.state_dict().items())
    images = torch.randn(1, 3, 99, 99)
    with torch.no_grad():
        assert torch.equal(loaded(images), network.eval()(images))
