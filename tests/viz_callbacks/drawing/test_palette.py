"""The palette: Okabe and Ito's colours as they published them."""

import itertools

from viz_callbacks.drawing import palette
from viz_callbacks.drawing.pixels import LABEL_COLOURS

PUBLISHED = {  # red, green and blue in the table of Okabe and Ito, Color Universal Design (2008)
    palette.BLACK: (0, 0, 0),
    palette.ORANGE: (230, 159, 0),
    palette.SKY_BLUE: (86, 180, 233),
    palette.BLUISH_GREEN: (0, 158, 115),
    palette.YELLOW: (240, 228, 66),
    palette.BLUE: (0, 114, 178),
    palette.VERMILLION: (213, 94, 0),
    palette.REDDISH_PURPLE: (204, 121, 167),
}


def test_the_eight_colours_are_the_published_ones() -> None:
    assert {colour: palette.rgb(colour) for colour in PUBLISHED} == PUBLISHED


def test_labels_have_different_colours() -> None:
    for one, other in itertools.combinations(LABEL_COLOURS, 2):
        assert one != other
