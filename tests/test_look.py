"""look.py as people call it, and the lens over a run."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import look
from configs import DataSettings
from configs.parser import parse, plain, save_settings
from datamodules.image_folder import ImageFolder
from experiment.lenses import lens_of_run, newest_run
from lightning_modules.networks.registry import build_network

NAMES = ["cat", "dog", "white wolf"]


def photograph(file: Path, number: int = 0) -> Path:
    rows, columns = np.mgrid[:90, :140]
    rows = (rows + 15 * number) % 90  # no two alike, or a split would keep them together
    Image.fromarray(np.stack([rows * 2, columns, rows + columns // 2], axis=2).astype(np.uint8)).save(file)
    return file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with settings and weights, which no training made."""
    settings = parse(["model=zfnet", "data.image_size=96", "data.train_sizes=[]"])
    folder = tmp_path / "runs/sweep/mine"
    (folder / "checkpoints").mkdir(parents=True)
    save_settings(settings, folder / "config.yaml")
    torch.manual_seed(0)
    network = build_network(settings.model, 3)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    checkpoint = {"settings": plain(settings), "class_names": NAMES, "state_dict": weights}
    torch.save(checkpoint, folder / "checkpoints/last.ckpt")
    return folder


def test_a_photograph_through_the_newest_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = photograph(tmp_path / "photo.png")
    out = tmp_path / "out.png"
    assert look.main([str(photo), "--runs", str(tmp_path / "runs"), "--classes", "White Wolf", "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert f"The network of {run}" in output
    assert "5 convolution layers (conv1 ... conv5), 3 classes; images of 3 x 96 x 96" in output
    assert all(name in output for name in NAMES)
    assert f"Open {out}" in output
    with Image.open(out) as picture:
        assert picture.width > 7 * 96


def test_a_runs_lens_sees_what_its_data_module_would(run: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            photograph(tmp_path / f"photos/{name}/{number}.png", number + 6 * (name == "dog"))
    settings = DataSettings(name="folder", root=str(tmp_path / "photos"), cache=False, train_sizes=[], batch_size=2)
    data = ImageFolder(settings, image_size=96, seed=1)
    data.prepare_data()
    data.setup("fit")
    seen = lens_of_run(run)(photograph(tmp_path / "photo.png"))
    same = data.images([0])
    assert (seen.pictures.int() - same.int()).abs().float().mean() < 3, "scaled once here, by way of 256 pixels there"


def test_one_of_torchvisions_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = photograph(tmp_path / "photo.png")
    out = tmp_path / "out.png"
    arguments = [str(photo), "--network", "torchvision:squeezenet1_1", "--untrained", "--out", str(out)]
    assert look.main([*arguments, "--layers", "features.0", "--classes", "tabby"]) == 0
    assert "Lens on a SqueezeNet: 26 convolution layers" in capsys.readouterr().out
    with Image.open(out) as picture:
        assert 3 * 224 < picture.width < 4 * 224


def test_a_transformer_shows_what_it_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, out = photograph(tmp_path / "photo.png"), tmp_path / "out.png"
    assert look.main([str(photo), "--network", "vit_b_32", "--untrained", "--out", str(out)]) == 0
    assert "Without DeNet: No backward rule is known for " in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.height < 400, "the image and conv_proj"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--network", "resnet81", "--untrained"], "torchvision has no such network; choose resnet"),
        (["--network", "squeezenet1_1", "--untrained", "--layers", "conv9"], "There is no convolution layer 'conv9'"),
        (["--network", "squeezenet1_1", "--untrained", "--classes", "tabi"], "Did you mean"),
        (["--run", "nowhere"], "nowhere/config.yaml can't be read"),
        (["--runs", "nowhere"], "there is no run in nowhere"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photograph(tmp_path / "photo.png")
    assert look.main(["photo.png", *arguments]) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "photo-seen.png").exists()


def test_what_is_no_photograph_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    network = ["--network", "squeezenet1_1", "--untrained"]
    photograph(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("text.jpg", "missing.jpg", "cut.png"):
        assert look.main([str(tmp_path / name), *network]) == 2
        assert name in capsys.readouterr().err


def test_the_newest_run_is_the_one_with_the_newest_weights(run: Path, tmp_path: Path) -> None:
    older = tmp_path / "runs/older/checkpoints/last.ckpt"
    older.parent.mkdir(parents=True)
    older.touch()
    os.utime(older, (1, 1))
    assert newest_run(tmp_path / "runs") == run
