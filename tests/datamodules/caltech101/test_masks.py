"""Masks: polygons read and drawn at the network's size; on made ones with known areas and on the real ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from configs import DataSettings, SettingsError
from datamodules.caltech101.files import image_folder, list_images
from datamodules.caltech101.masks import ANNOTATION_FOLDERS, BAD_ANNOTATIONS, polygon_mask, read_polygon


def test_a_polygon_is_its_box_and_its_contour_together(tmp_path: Path) -> None:
    (tmp_path / "crab").mkdir()
    contour = np.array([[0.0, 10, 10], [0, 0, 20]])
    savemat(tmp_path / "crab/annotation_0007.mat", {"box_coord": [[31, 51, 41, 51]], "obj_contour": contour})
    np.testing.assert_array_equal(read_polygon(tmp_path, "crab/image_0007.jpg"), [[40.5, 30.5], [50.5, 30.5], [50.5, 50.5]])


@pytest.mark.parametrize("size", [30, 57])
def test_a_rectangle_covers_its_share_whatever_the_images_shape(size: int) -> None:
    corners = np.array([[50.0, 20], [150, 20], [150, 80], [50, 80]])  # of 200 x 100 pixels
    inside = polygon_mask(corners, (200, 100), size)
    middles = (np.arange(size) + 0.5) / size
    expected = ((middles > 0.2) & (middles < 0.8))[:, None] & ((middles > 0.25) & (middles < 0.75))
    border = 4 * size  # a pixel on the edge may fall on either side
    assert (inside ^ expected).sum() <= border
    assert inside.mean() == pytest.approx(0.3, abs=0.03)


def test_a_triangle_covers_half_of_its_box() -> None:
    assert polygon_mask(np.array([[0.0, 0], [100, 0], [0, 100]]), (100, 100), 200).mean() == pytest.approx(0.5, abs=0.01)


def test_bad_and_missing_annotations_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        read_polygon(tmp_path, "watch/image_0221.jpg")
    with pytest.raises(SettingsError, match=r"annotation_0001\.mat: there is no readable annotation"):
        read_polygon(tmp_path, "crab/image_0001.jpg")
    (tmp_path / "crab").mkdir()
    (tmp_path / "crab/annotation_0001.mat").write_bytes(b"nonsense")
    with pytest.raises(SettingsError, match="no readable annotation"):
        read_polygon(tmp_path, "crab/image_0001.jpg")


def test_the_real_polygons_fill_their_boxes(real_settings: DataSettings) -> None:
    root = Path(real_settings.root)
    archives = Path(real_settings.archives) if real_settings.archives else None
    folder = image_folder(root, archives)
    files = [file for file in list_images(folder, False).files if file not in BAD_ANNOTATIONS]
    overlaps, areas = [], []
    for file in files[:: len(files) // 400]:
        with Image.open(folder / file) as image:
            width, height = image.size
        corners = read_polygon(root / "Annotations", file)
        name, number = file.split("/image_")
        path = root / "Annotations" / ANNOTATION_FOLDERS.get(name, name) / f"annotation_{number.replace('jpg', 'mat')}"
        top, bottom, left, right = loadmat(path)["box_coord"].ravel().astype(float)
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        shared = max(0, min(x1, right) - max(x0, left)) * max(0, min(y1, bottom) - max(y0, top))
        overlaps.append(shared / ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - shared))
        areas.append(polygon_mask(corners, (width, height), 32).mean())
    assert np.median(overlaps) > 0.9
    assert np.mean(np.array(overlaps) < 0.5) < 0.02
    assert 0.22 < np.median(areas) < 0.34
