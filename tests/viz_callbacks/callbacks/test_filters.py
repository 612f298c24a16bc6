"""The picture of the first layer's filters: each at its place with its values, the dead ones framed."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from torch import nn

from configs import VizSettings
from datamodules.datamodule import ImageDataModule
from experiment.visualization import build_probes, visualization_callbacks
from lightning_modules.classifier import Classifier
from viz_callbacks.callbacks import FilterPictures, Probes
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import Pixels, robust_range
from viz_callbacks.methods.filters import first_filters, root_mean_squares


@pytest.fixture
def probes(shapes: ImageDataModule) -> Probes:
    return build_probes(shapes, ["circle", "star"])


def network_of(channels: int, filters: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = OrderedDict(
        features=nn.Sequential(nn.Conv2d(channels, filters, 5, padding=2), nn.ReLU()),
        conv2=nn.Conv2d(filters, 2, 3),
        flatten=nn.Flatten(),
    )
    return nn.Sequential(layers)


def shown(values: torch.Tensor, range_: float) -> Pixels:
    """Filters (K, 3, h, w) as pictures (K, h, w, 3), value by value: 0 is grey, plus and minus the range white and black."""
    pictures = np.empty((len(values), *values.shape[2:], 3), np.uint8)
    for (k, c, row, column), value in np.ndenumerate(values.numpy()):
        pictures[k, row, column, c] = round(127.5 * (min(1.0, max(-1.0, value / range_)) + 1))
    return pictures


def test_a_training_leaves_a_picture_of_the_filters_with_facts(
    classifier: Classifier, shapes: ImageDataModule, probes: Probes, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    with torch.no_grad():
        dict(classifier.network.named_parameters())["conv1.bias"][3] = -100
    make_trainer(2, [FilterPictures(tmp_path, probes)]).fit(classifier, shapes)
    index = json.loads((tmp_path / "index.json").read_text())
    assert list(index) == ["1", "2"]
    (entry,) = index["2"]
    filters = first_filters(classifier.network)
    assert entry["place"] == "conv1"
    assert entry["dead"] == [4]
    assert entry["rms"] == pytest.approx(root_mean_squares(filters).tolist(), rel=1e-3)
    assert entry["filters"] == {"of": 6, "columns": 12, "height": 7, "width": 7}
    range_ = entry["ranges"]["one-scale"]
    assert range_ == pytest.approx(robust_range(filters))
    for words in ("6 filters of 7 x 7", "1 dead (on all probes)", f"white is {range_:.3g}", f"{max(entry['rms']):.3g}, ratio"):
        assert words in entry["caption"]
    expected = {
        "one-scale": shown(filters, range_),
        "own-scales": np.concatenate([shown(each[None], robust_range(each)) for each in filters]),
    }
    for name, pictures in expected.items():
        sprite = np.asarray(Image.open(tmp_path / entry["sprites"][name]))
        assert sprite.shape == (7, 12 * 7, 3)
        for k, picture in enumerate(pictures):
            difference = np.abs(sprite[:, 7 * k : 7 * k + 7].astype(int) - picture)
            assert difference.max() <= 1, "kept without loss; at a tie of two bytes either will do"
        assert (sprite[:, 6 * 7 :] == 128).all()
    assert np.asarray(Image.open(tmp_path / entry["sheet"])).std() > 10


def test_on_the_sheet_each_filter_is_at_its_place_and_the_dead_are_framed() -> None:
    pictures = np.random.default_rng(0).integers(0, 180, (26, 11, 11, 3), dtype=np.uint8)
    dead = [k in (0, 14, 25) for k in range(26)]
    sheet = np.asarray(sheets.filter_sheet(["a", "b"], [("one", pictures), ("two", 255 - pictures)], dead))
    gap, side = 6, 55
    top, left = 12 + 2 * 20 + 6 + 18 + gap, 12 + gap
    for block, start in ((pictures, left), (255 - pictures, left + 12 * (side + gap) - gap + 2 * gap + 16)):
        for k, picture in enumerate(block):
            row, column = top + k // 12 * (side + gap), start + k % 12 * (side + gap)
            assert (sheet[row : row + side, column : column + side] == picture.repeat(5, axis=0).repeat(5, axis=1)).all()
            beside = [
                sheet[row - gap : row, column : column + side],
                sheet[row + side : row + side + gap, column : column + side],
                sheet[row : row + side, column - gap : column],
                sheet[row : row + side, column + side : column + side + gap],
            ]
            assert all((edge == sheets.DEAD).all() for edge in beside) == dead[k]


@pytest.mark.parametrize(("channels", "words"), [(1, "white is"), (2, "channel 1 of 2"), (4, "channels 1 to 3 of 4")])
def test_other_numbers_of_channels_than_three(channels: int, words: str, probes: Probes, tmp_path: Path) -> None:
    network = network_of(channels, 3)
    snapshot = ProbeSnapshot(network, torch.randn(2, channels, 9, 9), probes.targets)
    (picture,) = FilterPictures(tmp_path, probes).draw(snapshot, 1)
    assert words in picture.caption.splitlines()[-1]
    sprite = picture.sprites["one-scale"]
    is_grey = bool((sprite == sprite[..., :1]).all())
    assert is_grey == (channels < 3)
    assert picture.facts["rms"] == pytest.approx(root_mean_squares(first_filters(network)).tolist(), rel=1e-3)


def test_one_that_dominates_is_seen_on_the_one_scale_and_the_others_on_their_own(probes: Probes, tmp_path: Path) -> None:
    network = network_of(3, 8)
    with torch.no_grad():
        weights = first_filters(network)
        weights[2] *= 100
        weights[5] = 0
    snapshot = ProbeSnapshot(network, torch.randn(2, 3, 9, 9), probes.targets)
    (picture,) = FilterPictures(tmp_path, probes).draw(snapshot, 1)
    spread = {name: [float(sprite[:, 5 * k : 5 * k + 5].std()) for k in range(8)] for name, sprite in picture.sprites.items()}
    assert max(value for k, value in enumerate(spread["one-scale"]) if k != 2) < 2 < 50 < spread["one-scale"][2]
    assert min(value for k, value in enumerate(spread["own-scales"]) if k != 5) > 50
    assert spread["own-scales"][5] == 0
    assert picture.facts["dead"] == [6]
    assert "1 dead (on all probes): framed; root mean square 0\n" in picture.caption


def test_a_run_looks_at_the_filters(shapes: ImageDataModule, probes: Probes, tmp_path: Path) -> None:
    (found,) = [
        each for each in visualization_callbacks(VizSettings(), shapes, probes, tmp_path, 9) if isinstance(each, FilterPictures)
    ]
    assert found.folder == tmp_path / "filters"
    assert found.every_n_epochs == 1
