"""Pictures of occlusion and invariance: made by a real training, and showing what the functions compute."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lightning import Trainer
from PIL import Image

from datamodules.datamodule import ImageDataModule
from experiment.visualization import build_probes
from lightning_modules.classifier import Classifier
from viz_callbacks.callbacks import InvariancePictures, OcclusionPictures
from viz_callbacks.callbacks.sensitivity import amounts_for
from viz_callbacks.methods.invariance import invariance
from viz_callbacks.methods.occlusion import occlusion


@pytest.mark.slow
def test_both_show_what_the_functions_compute(
    shapes: ImageDataModule, classifier: Classifier, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    probes = build_probes(shapes, ["circle", "star"])
    callbacks = [
        OcclusionPictures(tmp_path / "occlusion", probes, square=0.3, stride=1, every_n_epochs=2),
        InvariancePictures(tmp_path / "invariance", probes, every_n_epochs=2),
    ]
    make_trainer(2, callbacks).fit(classifier, shapes)
    index = json.loads((tmp_path / "occlusion/index.json").read_text())
    assert list(index) == ["2"], "after the last epoch only"
    for number, entry in enumerate(index["2"]):
        occluded = occlusion(classifier.network, probes.images[number], int(probes.targets[number]), "conv2", 20, 20)
        np.testing.assert_allclose(entry["probability"], occluded.probability, atol=1e-4)
        assert entry["predicted"][0][0] == shapes.class_names[int(occluded.predicted[0, 0])]
        assert (entry["side"], entry["stride"], entry["map"]) == (20, 20, occluded.map_index + 1)
        assert np.asarray(Image.open(tmp_path / "occlusion" / entry["sheet"])).std() > 1
    (entry,) = json.loads((tmp_path / "invariance/index.json").read_text())["2"]
    amounts = amounts_for(67)["rotation"]
    moved = invariance(classifier.network, probes.images, probes.targets, ["act1", "drop3"], "rotation", amounts)
    assert entry["rotation"]["amounts"] == amounts
    np.testing.assert_allclose(entry["rotation"]["distance at drop3"], moved.distances["drop3"], atol=1e-2)
    np.testing.assert_allclose(entry["rotation"]["probability of the true class"], moved.probability, atol=1e-3)
    assert np.asarray(Image.open(tmp_path / "invariance" / entry["sheet"])).shape[0] > 500


@pytest.mark.parametrize(("side", "largest"), [(224, 60), (112, 30)])
def test_shifts_go_with_the_size_of_the_image(side: int, largest: int) -> None:
    assert amounts_for(side)["translation"] == sorted(amounts_for(side)["translation"])
    assert (amounts_for(side)["translation"][0], amounts_for(side)["translation"][-1]) == (-largest, largest)
