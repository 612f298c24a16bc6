"""Sheets: where everything lies, and what is written on maps that have nothing to show."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot

from viz_callbacks.drawing import layout, sheets
from viz_callbacks.drawing.pixels import GAP, Pixels, colour_labels


def grey_maps(count: int, side: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)


@pytest.mark.parametrize(("side", "tile"), [(13, 52), (27, 54), (55, 55), (110, 55), (6, 54)])
def test_the_maps_stand_beside_the_image_and_its_projection(side: int, tile: int) -> None:
    original = np.zeros((99, 99, 3), np.uint8)
    none = [False] * 12
    sheet = sheets.deconvolution_sheet(["title"], original, original, grey_maps(12, side), none, none)
    grid_width = 10 * (tile + GAP) - GAP
    assert sheet.width == 12 + grid_width + 16 + 3 * 107 - 8 + 12


def test_a_map_with_nothing_to_show_says_so() -> None:
    original = np.full((99, 99, 3), 77, np.uint8)
    sheet = sheets.deconvolution_sheet(
        ["t"], original, original, grey_maps(3, 13), silent=[False, True, True], dead=[False, True, False]
    )
    pixels = np.asarray(sheet)
    top = 12 + 20 + 6 + 2
    assert tuple(pixels[top, 12 + 54 + 2]) == sheets.DEAD
    assert tuple(pixels[top, 12 + 2 * 54 + 2]) == sheets.SILENT
    tile = pixels[top : top + 48, 12 + 54 + 2 : 12 + 54 + 50]
    assert (tile == layout.TEXT).all(axis=2).any(), "the word is written on it"
    assert (pixels == 77).all(axis=2).sum() >= 5 * 99 * 99, "image, projection and three channels"


def test_a_legend_has_the_colours_of_its_labels() -> None:
    legend = np.asarray(layout.legend(["one", "two", "three"])).reshape(-1, 3)
    for colour in colour_labels(torch.tensor([[0, 1, 2]])).reshape(-1, 3):
        assert (legend == colour).all(1).any()


def test_curves_leave_nothing_behind_in_pyplot() -> None:
    curves = np.random.default_rng(0).random((2, 3, 5))
    sheet = sheets.curves_sheet(["t"], ["a", "b"], [("pixels", range(5), curves)] * 2, ["x", "y", "z"])
    assert np.asarray(sheet).std() > 1
    assert not pyplot.get_fignums()


def test_a_name_that_is_longer_than_its_picture_does_not_run_into_the_next() -> None:
    tile = np.zeros((10, 20, 3), np.uint8)
    long = "Deconvolution of conv5"
    row = np.asarray(layout.labelled_row([(long, tile), ("DeNet", tile)]))
    alone = np.asarray(layout.labelled_row([(long, tile)]))
    second = alone.shape[1] + layout.TILE_GAP
    assert second > 20 + layout.TILE_GAP
    assert np.array_equal(row[:, : alone.shape[1]], alone)
    assert np.array_equal(row[:, second:], np.asarray(layout.labelled_row([("DeNet", tile)])))
    assert (row[:, alone.shape[1] : second] == 255).all()


@pytest.mark.parametrize("letters", ["éñßøŁ", "λΩ", "Жя", "×–°"])
def test_letters_of_other_alphabets_are_drawn(letters: str) -> None:
    missing = np.asarray(layout.font(14, letters).getmask("\uffff"))
    for letter in letters:
        drawn = np.asarray(layout.font(14, letter).getmask(letter))
        assert drawn.shape != missing.shape or (drawn != missing).any(), letter


def test_a_dollar_in_a_name_is_no_formula() -> None:
    curve = np.ones((1, 2, 3))
    sheet = sheets.curves_sheet(["t"], ["one"], [("shift", [0.0, 1.0, 2.0], curve)], ["US$5.jpg", r"$\frac$.jpg"])
    assert sheet.width > 300
