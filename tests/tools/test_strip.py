"""Runs' sprites in one picture: a row for each run, and what is said where there are none."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from datamodules.datamodule import ImageDataModule
from experiment.visualization import build_probes
from tests.small_network import small_network
from tools import strip
from viz_callbacks.callbacks import DeconvolutionPictures, DeNetPictures


@pytest.fixture
def runs(shapes: ImageDataModule, tmp_path: Path) -> list[Path]:
    probes = build_probes(shapes, ["circle", "star"])
    for run in ("one", "two"):
        for kind in (DeconvolutionPictures, DeNetPictures):
            for epoch in (1, 3):
                kind(tmp_path / run / "pictures" / kind.name, probes).render(small_network(), epoch)
    return [tmp_path / "one", tmp_path / "two"]


def test_a_row_for_each_run_with_all_projections(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "strip.png"
    monkeypatch.setattr(sys, "argv", ["strip", *map(str, runs), "--probe", "star-0001", "--out", str(out)])
    strip.main()
    one = strip.projection_strip(runs[0], "star-0001", 3)
    assert one.width >= 4 * strip.SIDE, "two layers and two of DeNet"
    assert one.tobytes() != strip.projection_strip(runs[0], "star-0001", 1).tobytes(), "the epoch is written on it"
    assert Image.open(out).height >= 2 * strip.SIDE


def test_a_probe_or_an_epoch_without_pictures_is_refused(runs: list[Path]) -> None:
    with pytest.raises(ValueError, match="no pictures of moon at epoch 3; there are circle-0001, star-0001"):
        strip.projection_strip(runs[0], "moon", None)
    with pytest.raises(ValueError, match="no pictures of star-0001 at epoch 2; there are none"):
        strip.projection_strip(runs[0], "star-0001", 2)
