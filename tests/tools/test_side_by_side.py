"""Pictures of finished runs: all kinds for each, networks side by side; ``load_run`` gives back what a run has left."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from configs.parser import parse, save_settings
from datamodules.datamodule import ImageDataModule
from tests.small_network import small_network
from tools import side_by_side


@pytest.mark.slow
def test_all_pictures_of_each_run_and_the_runs_side_by_side(
    shapes: ImageDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "load_run", lambda run: (small_network().eval(), shapes))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text("epoch,seconds\n1,2\n7,2\n")
        save_settings(parse(["data=shapes"]), tmp_path / name / "config.yaml")
    words = [
        "side_by_side.py",
        str(tmp_path / "one"),
        str(tmp_path / "two"),
        "--probes",
        "circle",
        "star",
        "--out",
        str(tmp_path / "out"),
    ]
    monkeypatch.setattr(sys, "argv", words)
    side_by_side.main()
    for run in ("one", "two"):
        folder = tmp_path / "out" / run
        kinds = {file.relative_to(folder).parts[0] for file in folder.rglob("epoch-007.jpg")}
        assert kinds == {kind.name for kind in side_by_side.KINDS}
    strips = sorted((tmp_path / "out/strips").iterdir())
    assert [file.name for file in strips] == ["circle-0001.jpg", "star-0001.jpg"]
    strip = Image.open(strips[0])
    assert strip.width >= 5 * shapes.image_size, "the image, two layers, and DeNet with and without biases"
    assert strip.height >= 2 * shapes.image_size, "a row for each network"
    assert Image.open(tmp_path / "out/strips.jpg").height >= 4 * shapes.image_size, "all strips"
    classes, both = (Image.open(tmp_path / "out" / name) for name in ("one/classes.jpg", "categories.jpg"))
    side = shapes.image_size
    assert classes.width >= 7 * side, "the image and DeNet of three classes, with and without biases"
    assert 2 * side < both.height < classes.height + 60, "a row for each probe"
