"""The one picture of all probes and layers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.datamodule import ImageDataModule
from experiment.visualization import build_probes
from lightning_modules.classifier import Classifier
from viz_callbacks.callbacks import OverviewPictures
from viz_callbacks.drawing.pixels import Pixels, grey_levels, signed_picture, thumbnail
from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet


def contains(sheet: Pixels, tile: Pixels) -> bool:
    """Whether the tile stands somewhere in the sheet, whose rows of tiles begin anywhere."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (1, *tile.shape[1:]))[:, :, 0, 0]
    height = len(tile)
    for row, column in np.argwhere((windows == tile[0]).all((2, 3))):
        if (sheet[row : row + height, column : column + tile.shape[1]] == tile).all():
            return True
    return False


def test_a_row_for_each_probe_with_the_image_and_every_layer(
    classifier: Classifier, shapes: ImageDataModule, tmp_path: Path
) -> None:
    probes = build_probes(shapes, ["circle", "star"])
    [(picture, file)] = OverviewPictures(tmp_path, probes).render(classifier.network.eval(), epoch=3)
    assert file == tmp_path / "all/epoch-003.jpg"
    assert Image.open(file).size == picture.sheet.size
    assert "Epoch 3" in picture.caption
    traces = record(classifier.network, probes.images)
    projections = {
        "conv1": deconvolution(traces, "conv1"),
        "conv2": deconvolution(traces, "conv2"),
        "DeNet": denet(traces, probes.targets),
        "DeNet, no biases": denet(traces, probes.targets, subtract_bias=False),
    }
    sheet = np.asarray(picture.sheet)
    for number, name in enumerate(probes.names):
        assert contains(sheet, probes.original(number))
        for projection_name, projection in projections.items():
            range_ = picture.ranges[f"{name}/{projection_name}"]
            assert contains(sheet, signed_picture(projection[number], range_)), projection_name


def test_nothing_is_left_out_of_the_ranges(classifier: Classifier, shapes: ImageDataModule, tmp_path: Path) -> None:
    probes = build_probes(shapes, ["star"])
    [(picture, _)] = OverviewPictures(tmp_path, probes).render(classifier.network.eval(), epoch=1)
    assert len(picture.ranges) == 4
    assert all(range_ == pytest.approx(range_) and range_ > 0 for range_ in picture.ranges.values())


def test_each_probe_has_a_sheet_with_the_strongest_maps_of_each_layer(
    classifier: Classifier, shapes: ImageDataModule, tmp_path: Path
) -> None:
    probes = build_probes(shapes, ["circle", "star"])
    [(overview, _), *own] = OverviewPictures(tmp_path, probes, own_sheets=True).render(classifier.network.eval(), epoch=3)
    assert [file for _, file in own] == [tmp_path / f"each/{name}-0001/epoch-003.jpg" for name in ("circle", "star")]
    traces = record(classifier.network, probes.images)
    for number, (picture, _) in enumerate(own):
        sheet, name = np.asarray(picture.sheet), probes.names[number]
        assert contains(sheet, probes.original(number))
        strongest = picture.facts["strongest"]
        assert isinstance(strongest, dict)
        assert list(strongest) == ["conv1", "conv2"]
        for layer, numbers in strongest.items():
            maps = feature_maps(traces, layer)[number]
            means = [float(np.abs(each.numpy()).mean()) for each in maps]
            assert numbers == [k + 1 for k in sorted(range(len(means)), key=lambda k: -means[k])[:4]]
            range_ = overview.ranges[f"{name}/{layer}"]
            assert contains(sheet, signed_picture(deconvolution(traces, layer)[number], range_)), "on the scale of the overview"
            for k in numbers:
                grey = grey_levels(maps[k - 1], picture.ranges[layer])
                assert contains(sheet, thumbnail(np.repeat(grey[..., None], 3, axis=2)))
        assert contains(sheet, signed_picture(denet(traces, probes.targets)[number], overview.ranges[f"{name}/DeNet"]))
