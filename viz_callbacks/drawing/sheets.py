"""The sheets that people open, one function for each kind: pictures and curves laid out beside each other, with words."""

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from viz_callbacks.drawing.layout import (
    TEXT,
    TILE_GAP,
    add_heading,
    font,
    labelled_row,
    stack_horizontally,
    stack_vertically,
)
from viz_callbacks.drawing.pixels import (
    BACKGROUND,
    FILTER_COLUMNS,
    GAP,
    MAP_COLUMNS,
    THUMBNAIL_SIDE,
    WHITE,
    Pixels,
    colour_grid,
    grey_grid,
    resize_maps,
    thumbnail,
)

SILENT = (196, 216, 236)  # the tile of a map that shows nothing of this image
DEAD = (244, 190, 150)  # the tile of a map, the frame of a filter, that shows nothing of any probe

Cell = tuple[Pixels, Pixels, str, str]
"""Two pictures (h, w, 3), one above the other, and the words above and below them."""


def row_sheet(lines: Sequence[str], tiles: Sequence[tuple[str, Pixels]], below: Image.Image | None = None) -> Image.Image:
    """Lay named pictures (H, W, 3) of one size out in a row, under the lines of a heading; ``below`` may follow them.

    >>> grey = np.full((64, 64, 3), 128, np.uint8)
    >>> row_sheet(["Nothing yet"], [("image", grey), ("projection", grey)]).size
    (160, 134)
    """
    return add_heading(lines, stack_vertically([labelled_row(tiles), *([below] if below else [])]))


def table_sheet(lines: Sequence[str], columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Pixels]]]) -> Image.Image:
    """Lay pictures (H, W, 3) out as a table: the columns' names once at the top, a line of words above each row.

    >>> grey = np.full((64, 64, 3), 128, np.uint8)
    >>> table_sheet(["Two images"], ["image", "conv1"], [("a face", [grey, grey]), ("a leopard", [grey, grey])]).size
    (160, 258)
    """
    made = []
    for number, (words, tiles) in enumerate(rows):
        names = columns if number == 0 else [""] * len(tiles)
        row = labelled_row(list(zip(names, tiles, strict=True)))
        line = Image.new("RGB", (max(row.width, math.ceil(font(13, words).getlength(words))), 18), BACKGROUND)
        ImageDraw.Draw(line).text((0, 2), words, TEXT, font(13, words))
        made.append(stack_vertically([line, row]))
    return add_heading(lines, stack_vertically(made))


def column_sheet(lines: Sequence[str], columns: Sequence[Sequence[tuple[str, Pixels]]]) -> Image.Image:
    """Lay columns out beside each other, each of named pictures (H, W, 3) one below the other.

    >>> grey = np.full((64, 64, 3), 128, np.uint8)
    >>> column_sheet(["An image"], [[("image", grey)], [("conv1", grey), ("its maps", grey)]]).size
    (160, 226)
    """
    made = [stack_vertically([labelled_row([tile]) for tile in column]) for column in columns]
    return add_heading(lines, stack_horizontally(made, TILE_GAP))


def deconvolution_sheet(
    lines: Sequence[str],
    original: Pixels,
    projection: Pixels,
    maps: Pixels,
    silent: Sequence[bool],
    dead: Sequence[bool],
) -> Image.Image:
    """Lay out the report's Figures 10 and 11 for one image and layer.

    The maps are a grid of ten columns; beside them are the image, its projection in colour, and the projection's channels.

    Args:
        lines: written at the top.
        original: the image (H, W, 3).
        projection: the picture of the projection (H, W, 3).
        maps: the pictures of the maps to show (K, h, w).
        silent: whether each map shows nothing of this image; its tile says so.
        dead: whether each map shows nothing of any probe; so does its tile then.
    """
    grid = Image.fromarray(grey_grid(resize_maps(maps), MAP_COLUMNS, GAP, fill=WHITE)).convert("RGB")
    side = (grid.width - (MAP_COLUMNS - 1) * GAP) // MAP_COLUMNS
    marks = {False: _mark(side, "silent", SILENT), True: _mark(side, "dead", DEAD)}
    for number, (is_silent, is_dead) in enumerate(zip(silent, dead, strict=True)):
        if is_silent:
            grid.paste(marks[is_dead], (number % MAP_COLUMNS * (side + GAP), number // MAP_COLUMNS * (side + GAP)))
    tiles = [("image", original), ("projection", projection)]
    channels = [(name, np.repeat(projection[:, :, c : c + 1], 3, axis=2)) for c, name in enumerate(("red", "green", "blue"))]
    beside = stack_vertically([labelled_row(tiles), labelled_row(channels)])
    return add_heading(lines, stack_horizontally([grid, beside]))


def filter_sheet(lines: Sequence[str], blocks: Sequence[tuple[str, Pixels]], dead: Sequence[bool]) -> Image.Image:
    """Lay out the same filters, pictured in several ways, beside each other.

    Args:
        lines: written at the top.
        blocks: a label and pictures (K, h, w, 3) each.
        dead: whether each filter is dead; such a one is framed, so that its values can still be seen.
    """
    return add_heading(lines, stack_horizontally([_filter_block(label, pictures, dead) for label, pictures in blocks]))


def top9_sheet(lines: Sequence[str], blocks: Sequence[tuple[str, Pixels, Pixels]]) -> Image.Image:
    """Lay out Zeiler and Fergus's figure 2: each map's strongest projections beside the patches that they come from.

    A block is a label, projections and patches, both (K, h, w, 3), shown three in a row. Four blocks stand in a row.
    """
    made = []
    for label, *sides in blocks:
        thumbnails = [np.stack([thumbnail(picture) for picture in side]) for side in sides]
        grids = [Image.fromarray(colour_grid(tiles, 3, GAP, fill=WHITE)) for tiles in thumbnails]
        block = Image.new("RGB", (2 * grids[0].width + 6, grids[0].height + 18), BACKGROUND)
        ImageDraw.Draw(block).text((0, 1), label, TEXT, font(12, label))
        for number, grid in enumerate(grids):
            block.paste(grid, (number * (grid.width + 6), 18))
        made.append(block)
    rows = [made[start : start + 4] for start in range(0, len(made), 4)]
    return add_heading(lines, stack_vertically([stack_horizontally(row) for row in rows]))


def evolution_sheet(lines: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]]) -> Image.Image:
    """Lay out Zeiler and Fergus's figure 4: for each map (a label) a row of its pictures over the epochs."""
    made = []
    for label, cells in rows:
        row = Image.new("RGB", (90 + len(cells) * (THUMBNAIL_SIDE + 10), 2 * THUMBNAIL_SIDE + GAP + 42), BACKGROUND)
        draw = ImageDraw.Draw(row)
        draw.text((0, 16 + THUMBNAIL_SIDE), label, TEXT, font(12, label), anchor="lm")
        for number, (upper, lower, above, below) in enumerate(cells):
            left = 90 + number * (THUMBNAIL_SIDE + 10)
            draw.text((left, 1), above, TEXT, font(11, above))
            row.paste(Image.fromarray(thumbnail(upper)), (left, 16))
            row.paste(Image.fromarray(thumbnail(lower)), (left, 16 + THUMBNAIL_SIDE + GAP))
            draw.text((left, 18 + GAP + 2 * THUMBNAIL_SIDE), below, TEXT, font(9, below), spacing=1)
        made.append(row)
    return add_heading(lines, stack_vertically(made))


def curves_sheet(
    lines: Sequence[str],
    titles: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float], NDArray[np.floating]]],
    names: Sequence[str],
) -> Image.Image:
    """Draw curves in a table of axes.

    Args:
        lines: written at the top.
        titles: of the columns.
        rows: the label of the horizontal axis, its values (A,) and those of the curves (titles, names, A) each.
        names: of the curves.
    """
    figure = Figure(figsize=(4 * len(titles), 2.8 * len(rows)), layout="constrained")
    cells = figure.subplots(len(rows), len(titles), squeeze=False)
    for (label, places, values), row in zip(rows, cells, strict=True):
        for axes, title, curves in zip(row, titles, values, strict=True):
            for name, curve in zip(names, curves, strict=True):
                axes.plot(places, curve, label=name)
            axes.set_xlabel(label)
            axes.set_title(title, fontsize=10)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
    legend = figure.legend(*cells[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)  # names of files may have a $
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    return add_heading(lines, Image.open(drawn).convert("RGB"))


def _filter_block(label: str, pictures: Pixels, dead: Sequence[bool]) -> Image.Image:
    """Lay pictures of filters (K, h, w, 3) out as a grid under a label, the dead ones framed."""
    gap = 3 * GAP
    tiles = np.stack([resize_maps(pictures[..., channel]) for channel in range(3)], axis=3)
    height, width = tiles.shape[1:3]
    grid = Image.fromarray(colour_grid(tiles, FILTER_COLUMNS, gap, fill=WHITE))
    block = Image.new("RGB", (grid.width + 2 * gap, grid.height + 2 * gap + 18), BACKGROUND)
    block.paste(grid, (gap, gap + 18))
    draw = ImageDraw.Draw(block)
    draw.text((gap, 1), label, TEXT, font(13, label))
    for number in (k for k, is_dead in enumerate(dead) if is_dead):
        left = gap + number % FILTER_COLUMNS * (width + gap)
        top = gap + 18 + number // FILTER_COLUMNS * (height + gap)
        draw.rectangle((left - gap, top - gap, left + width + gap - 1, top + height + gap - 1), outline=DEAD, width=gap)
    return block


def _mark(side: int, word: str, colour: tuple[int, int, int]) -> Image.Image:
    """Draw a tile of one colour with a word on it."""
    tile = Image.new("RGB", (side, side), colour)
    ImageDraw.Draw(tile).text((side / 2, side / 2), word, TEXT, font(12, word), anchor="mm")
    return tile
