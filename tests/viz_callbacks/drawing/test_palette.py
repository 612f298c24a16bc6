"""The palette: Okabe and Ito's colours as others have them."""

import itertools

import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from viz_callbacks.drawing import palette
from viz_callbacks.drawing.pixels import LABEL_COLOURS

EIGHT = (
    palette.BLACK, palette.ORANGE, palette.SKY_BLUE, palette.BLUISH_GREEN, palette.YELLOW, palette.BLUE, palette.VERMILLION,
    palette.REDDISH_PURPLE,
)  # fmt: skip


def test_the_eight_colours_are_matplotlibs() -> None:
    if "okabe_ito" not in colormaps:
        pytest.skip("Matplotlib has them from 3.11 on")
    theirs = [tuple(round(255 * float(part)) for part in to_rgb(colour)) for colour in colormaps["okabe_ito"](range(8))]
    assert [palette.rgb(colour) for colour in EIGHT] == theirs


def test_labels_have_different_colours() -> None:
    for one, other in itertools.combinations(LABEL_COLOURS, 2):
        assert one != other
