"""Tensors to pictures: ranges, grey levels, colours and grids."""

import numpy as np
import pytest
import torch

from viz_callbacks.drawing.pixels import (
    colour_labels,
    enlarge_field,
    grey_levels,
    heatmap,
    map_sprite,
    resize_maps,
    robust_range,
    signed_picture,
)


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


def test_fields_keep_their_places_and_colours() -> None:
    field = heatmap(torch.tensor([[0.0, 1.0], [0.5, 2.0]]))
    assert field[0, 0].tolist() == [68, 1, 84]
    assert field[0, 1].tolist() == field[1, 1].tolist() == [253, 231, 36]
    picture = enlarge_field(field, 12, 10, 1)
    assert picture.shape == (12, 10, 3)
    assert (picture[0] == 255).all()
    assert (picture[1:6, 1:5] == field[0, 0]).all()
    assert (picture[6:11, 5:9] == field[1, 1]).all()


def test_labels_have_colours_of_their_own() -> None:
    colours = colour_labels(torch.tensor([[0, 1], [2, 0]]))
    assert (colours[0, 0] == colours[1, 1]).all()
    assert len({tuple(colour) for colour in colours.reshape(-1, 3).tolist()}) == 3


@pytest.mark.parametrize(("side", "tile"), [(13, 52), (27, 54), (55, 55), (110, 55), (6, 54)])
def test_maps_are_shown_at_about_the_same_size(side: int, tile: int) -> None:
    assert resize_maps(np.zeros((2, side, side), np.uint8)).shape == (2, tile, tile)


def test_average_down_keeps_the_mean() -> None:
    maps = torch.rand(1, 110, 110)
    small = resize_maps(grey_levels(maps, 1.0))
    assert small.shape == (1, 55, 55)
    assert abs(float(small.mean()) - float(grey_levels(maps, 1.0).mean())) < 0.5
