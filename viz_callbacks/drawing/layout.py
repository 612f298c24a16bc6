"""Pictures beside and above each other, with words: what every sheet is put together from."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from viz_callbacks.drawing import palette
from viz_callbacks.drawing.pixels import BACKGROUND, LABEL_COLOURS, Pixels

TEXT = (20, 20, 20)  # nearly black
MARGIN = 12
COLUMN_GAP = 16  # between the parts of a sheet
TILE_GAP = 8  # between the pictures of a row


def font(size: int, words: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font to write words in, in a size in pixels.

    It is Pillow's own, or matplotlib's for words with letters that Pillow's lacks: those with accents, Greek, Cyrillic.
    """
    return _font(size, plain=words.replace("±", "").isascii())


@functools.cache  # a file is read anew each time
def _font(size: int, plain: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if plain:
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def stack_vertically(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures above each other, left edges in line."""
    height = sum(each.height + TILE_GAP for each in pictures) - TILE_GAP
    column = Image.new("RGB", (max(each.width for each in pictures), height), BACKGROUND)
    top = 0
    for picture in pictures:
        column.paste(picture, (0, top))
        top += picture.height + TILE_GAP
    return column


def stack_horizontally(pictures: Sequence[Image.Image], gap: int = COLUMN_GAP) -> Image.Image:
    """Put pictures beside each other, upper edges in line."""
    width = sum(each.width + gap for each in pictures) - gap
    row = Image.new("RGB", (width, max(each.height for each in pictures)), BACKGROUND)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def labelled_row(tiles: Sequence[tuple[str, Pixels]]) -> Image.Image:
    """Put named pictures (H, W, 3) beside each other, their names above if any has one; a long name makes its column wider."""
    above = 20 if any(name for name, _ in tiles) else 0
    columns = []
    for name, tile in tiles:
        height, width = tile.shape[:2]
        column = Image.new("RGB", (max(width, math.ceil(font(13, name).getlength(name))), height + above), BACKGROUND)
        ImageDraw.Draw(column).text((0, 2), name, TEXT, font(13, name))
        column.paste(Image.fromarray(tile), (0, above))
        columns.append(column)
    return stack_horizontally(columns, TILE_GAP)


def legend(names: Sequence[str]) -> Image.Image:
    """Write the names of numbers 0, 1, ... each beside its colour in ``pixels.colour_labels``, one below the other."""
    rows = []
    for number, name in enumerate(names):
        row = Image.new("RGB", (22 + int(font(13, name).getlength(name)), 16), BACKGROUND)
        draw = ImageDraw.Draw(row)
        draw.rectangle((0, 1, 13, 14), fill=palette.rgb(LABEL_COLOURS[number % len(LABEL_COLOURS)]))
        draw.text((20, 0), name, TEXT, font(13, name))
        rows.append(row)
    return stack_vertically(rows)


def add_heading(lines: Sequence[str], body: Image.Image) -> Image.Image:
    """Make a sheet of a picture: a margin around it and lines of text above, as wide as the widest of them."""
    line_height = 20
    width = max([body.width, *(int(font(14, line).getlength(line)) for line in lines)])
    heading_height = len(lines) * line_height + 6
    sheet = Image.new("RGB", (width + 2 * MARGIN, body.height + heading_height + 2 * MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + number * line_height), line, TEXT, font(14, line))
    sheet.paste(body, (MARGIN, MARGIN + heading_height))
    return sheet
