"""Eight colours that readers with any kind of colour vision tell apart, and two greys.

Masataka Okabe and Kei Ito, Color Universal Design (2002, revised 2008), figure 16; the same as Matplotlib's ``okabe_ito``,
which is newer than the oldest Matplotlib admitted here.
"""

BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
BLUISH_GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
REDDISH_PURPLE = "#CC79A7"

GREY = "#999999"
DARK_GREY = "#787878"


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the red, green and blue (0 to 255) of a colour such as ``#56B4E9``.

    >>> rgb(SKY_BLUE)
    (86, 180, 233)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
