"""Tensors to pictures: ranges, grey levels, grids, and maps that have nothing to show."""

import numpy as np
import pytest
import torch

from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import GAP, grey_levels, map_sprite, robust_range, signed_picture, sized
from viz_callbacks.engine.feature_maps import dead_maps, silent_maps


def test_range_is_the_percentile_of_the_absolute_values() -> None:
    values = torch.arange(1, 1001).float() * torch.tensor([1, -1]).repeat(500)
    assert robust_range(values.reshape(10, 100)) == 995
    assert robust_range(torch.tensor([0.0, 0.0, 0.0, 7.0])) == 7
    assert robust_range(torch.zeros(3, 4)) == 0
    sparse = torch.zeros(10_000)
    sparse[0] = -3
    assert robust_range(sparse) == 3, "a single value is still worth a picture"
    assert np.isnan(robust_range(torch.tensor([1.0, float("inf")])))


def test_zero_is_grey_and_the_range_is_black_to_white() -> None:
    levels = grey_levels(torch.tensor([-9.0, -2.0, -1.0, 0.0, 1.0, 2.0, 9.0]), 2.0)
    assert levels.tolist() == [0, 0, 64, 128, 191, 255, 255]
    for nothing in (0.0, float("nan")):
        assert grey_levels(torch.ones(2, 2), nothing).tolist() == [[128, 128], [128, 128]]


def test_projection_keeps_its_channels() -> None:
    projection = torch.zeros(3, 4, 5)
    projection[1] = 1
    picture = signed_picture(projection, 1.0)
    assert picture.shape == (4, 5, 3)
    assert (picture == [128, 255, 128]).all()


def test_sprite_holds_each_map_at_native_size_in_reading_order() -> None:
    maps = torch.linspace(-1, 1, 13)[:, None, None].expand(13, 3, 2)
    sprite = map_sprite(maps, 1.0, columns=10)
    assert sprite.shape == (6, 20)
    assert (sprite[0:3, 0:2] == 0).all()
    assert (sprite[3:6, 4:6] == 255).all()
    assert (sprite[3:6, 6:] == 128).all(), "the rest of the last row is grey"


def test_silent_on_one_image_and_dead_on_all() -> None:
    maps = torch.rand(2, 4, 5, 5)
    maps[:, 1] = 0
    maps[0, 2] = 0
    maps[:, 3] = 0
    maps[1, 3] = 0.5  # constant on each image, but not the same
    assert silent_maps(maps[0]) == [False, True, True, True]
    assert silent_maps(maps[1]) == [False, True, False, True]
    assert dead_maps(maps) == [False, True, False, False]


@pytest.mark.parametrize(("side", "tile"), [(13, 52), (27, 54), (55, 55), (110, 55), (6, 54)])
def test_maps_are_shown_at_about_the_same_size(side: int, tile: int) -> None:
    maps = torch.rand(12, side, side)
    original = np.zeros((99, 99, 3), np.uint8)
    sheet = sheets.deconvolution_sheet(["title"], original, maps, 1.0, [False] * 12, original)
    grid_width = 10 * (tile + GAP) - GAP
    assert sheet.width == 12 + grid_width + 16 + 3 * 107 - 8 + 12


def test_a_map_with_nothing_to_show_says_so() -> None:
    maps = torch.rand(3, 13, 13)
    maps[1] = 0
    maps[2] = 0
    original = np.full((99, 99, 3), 77, np.uint8)
    pixels = np.asarray(sheets.deconvolution_sheet(["t"], original, maps, 1.0, [False, True, False], original))
    top = 12 + 20 + 6 + 2
    assert tuple(pixels[top, 12 + 54 + 2]) == sheets.DEAD
    assert tuple(pixels[top, 12 + 2 * 54 + 2]) == sheets.SILENT
    tile = pixels[top : top + 48, 12 + 54 + 2 : 12 + 54 + 50]
    assert (tile == sheets.INK).all(axis=2).any(), "the word is written on it"
    assert (pixels == 77).all(axis=2).sum() >= 5 * 99 * 99, "image, projection and three channels"


def test_average_down_keeps_the_mean() -> None:
    maps = torch.rand(1, 110, 110)
    small = sized(grey_levels(maps, 1.0))
    assert small.shape == (1, 55, 55)
    assert abs(float(small.mean()) - float(grey_levels(maps, 1.0).mean())) < 0.5
