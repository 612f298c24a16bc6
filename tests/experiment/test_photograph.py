"""A photograph as a network sees it, against the network and DeNet themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import page as program
from configs import Settings, SettingsError
from configs.parser import save_settings
from datamodules.datamodule import MEAN, STD
from experiment import photograph
from experiment.photograph import look_at_photograph
from pages.run_data import read_run
from tests.small_network import small_network
from viz_callbacks import Lens
from viz_callbacks.drawing.pixels import robust_range, signed_picture
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.denet import denet

pytestmark = [pytest.mark.slow]
SIZE, CLASSES = 67, ["Cat", "cat", "dog", "hen", "ox", "pig", "ram", "rat"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    save_settings(Settings(), folder / "config.yaml")
    (folder / "metrics.csv").write_text("epoch,test/loss,test/accuracy\n1,2,0.2\n2,1,0.5\n")
    lens = Lens(small_network(), class_names=CLASSES, size=SIZE, mean=MEAN, std=STD, stretch=True)
    monkeypatch.setattr(photograph, "lens_of_run", lambda run: lens)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "my <b>cat.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def test_the_five_most_probable_classes_and_denet_of_each(run: Path, photo: Path, tmp_path: Path) -> None:
    """Two classes that differ in case alone are told apart."""
    network, folder = small_network().eval(), tmp_path / "seen"
    folder.mkdir()
    predicted = look_at_photograph(run, photo, folder)
    with Image.open(photo) as image:
        pixels = torch.from_numpy(np.array(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))).permute(2, 0, 1) / 255
    images = ((pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))[None]
    with torch.inference_mode():
        shares = network(images).softmax(1)[0]
        order = shares.argsort(descending=True)[:5].tolist()
        assert [name for name, _ in predicted] == [CLASSES[number] for number in order]
        assert [share for _, share in predicted] == pytest.approx(shares[order].tolist(), rel=1e-4)
        traces = record(network, images)
        expected = [denet(traces, torch.tensor([number]))[0] for number in order]
    found = read_run(folder)
    assert list(found.pictures["denet"]) == [2], "under the last epoch"
    (entry,) = found.pictures["denet"][2].values()
    for rank, projection in enumerate(expected, start=1):
        sprite = np.asarray(Image.open(folder / "pictures/denet" / entry["sprites"][f"denet-class-{rank}"]))
        range_ = robust_range(projection)
        assert entry["ranges"][entry["words"][f"denet-class-{rank}"]] == pytest.approx(range_, rel=1e-4)
        greys = [each.mean(2).ravel() for each in (sprite, signed_picture(projection, range_))]
        assert np.corrcoef(*greys)[0, 1] > 0.8, "the same but for the compression"
    assert json.loads((folder / "pictures/probes/index.json").read_text())[0]["predicted"][0][0] == predicted[0][0]


def test_its_page(run: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(run), "--image", str(photo)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6, "five classes, and the page"
    text = (run / "photographs/my <b>cat.html").read_text()
    assert "denet-class-5" in text
    assert "my <b>cat" not in text


def test_a_photograph_that_is_none_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        look_at_photograph(run, tmp_path / "nothing.jpg", tmp_path)
    (tmp_path / "text.jpg").write_text("no image")
    assert program.main([str(run), "--image", str(tmp_path / "text.jpg")]) == 2
    assert capsys.readouterr().err.startswith("page.py: ")
