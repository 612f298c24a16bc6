"""Images to look at: by the data set's names, and files from anywhere, of which the class is unknown."""

from pathlib import Path

import pytest
import torch

from configs import SettingsError
from datamodules.datamodule import ImageDataModule
from datamodules.decoding import decode
from datamodules.probe_images import UNKNOWN, probe_images
from datamodules.transforms import resize
from tests.datamodules.photographs import write


def test_the_data_sets_own_images(shapes: ImageDataModule) -> None:
    found = probe_images(shapes, ["star/0003", "heart"])
    assert [each.name for each in found] == ["star/0003", "heart/0001"]
    for each in found:
        (number,) = shapes.find([each.name])
        assert torch.equal(each.pixels, shapes.images([number])[0])
        assert torch.equal(each.mask, shapes.masks([number])[0])
        assert (each.target, each.note) == (shapes.targets[number], shapes.split.part(number))
    assert [each.name for each in probe_images(shapes, [])] == list(shapes.default_probes)


def test_a_file_from_anywhere_has_no_class_and_no_mask(
    shapes: ImageDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "holiday/star.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(tmp_path / "holiday/star.png"), "~/holiday/star.png"):
        (found,) = probe_images(shapes, [name])
        assert (found.name, found.target, found.note) == ("star.png", UNKNOWN, "not of the data set")
        assert torch.equal(found.pixels, resize(decode(tmp_path / "holiday/star.png"), 67))
        assert found.mask.shape == (67, 67)
        assert not found.mask.any()


def test_a_name_that_is_neither_and_a_file_that_is_no_image_are_explained(shapes: ImageDataModule, tmp_path: Path) -> None:
    for name in ("nowhere.jpg", str(tmp_path)):
        with pytest.raises(SettingsError, match=r"no image or class .*; name a file such as circle/0001, a class, or a file"):
            probe_images(shapes, [name])
    (tmp_path / "x.jpg").write_text("no image")
    with pytest.raises(SettingsError, match=r"x\.jpg: cannot be decoded"):
        probe_images(shapes, [str(tmp_path / "x.jpg")])
