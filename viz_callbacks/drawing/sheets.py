"""The sheets that people open: pictures and curves laid out beside each other, with words."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from viz_callbacks.drawing.pixels import (
    FILTER_COLUMNS,
    GAP,
    LABEL_COLOURS,
    PAPER,
    THUMB,
    Pixels,
    colour_grid,
    grey_grid,
    grey_levels,
    sized,
    thumbnail,
)
from viz_callbacks.engine.feature_maps import silent_maps

INK = (20, 20, 20)
SILENT = (196, 216, 236)  # a map with nothing to show on this image
DEAD = (244, 190, 150)  # a map with nothing to show on any probe


def deconvolution_sheet(
    lines: Sequence[str], original: Pixels, maps: Tensor, maps_range: float, dead: Sequence[bool], projection: Pixels
) -> Image.Image:
    """The report's Figures 10 and 11 for one image and layer: the maps as a grid of ten columns, beside them the image, its
    projection in colour, and the projection's three channels.

    Args:
        lines: written at the top.
        original: the image (H, W, 3).
        maps: the maps to show (K, h, w).
        maps_range: their range.
        dead: for each map whether it is dead; silent ones are found here.
        projection: the picture of the projection (H, W, 3).
    """
    grid = Image.fromarray(grey_grid(sized(grey_levels(maps, maps_range)), 10, GAP, fill=255)).convert("RGB")
    side = (grid.width - 9 * GAP) // 10
    for number, (is_silent, is_dead) in enumerate(zip(silent_maps(maps), dead, strict=True)):
        if is_silent:
            corner = (number % 10 * (side + GAP), number // 10 * (side + GAP))
            _mark(grid, corner, side, "dead" if is_dead else "silent", DEAD if is_dead else SILENT)
    tiles = [("image", original), ("projection", projection)]
    channels = [(name, np.repeat(projection[:, :, c : c + 1], 3, axis=2)) for c, name in enumerate(("red", "green", "blue"))]
    beside = stacked([_row(tiles), _row(channels)])
    return _sheet(lines, _beside([grid, beside], 16))


def top9_sheet(lines: Sequence[str], blocks: Sequence[tuple[str, Pixels, Pixels]]) -> Image.Image:
    """Zeiler and Fergus's figure 2: for each map its strongest projections, three in a row, beside the patches they come from.

    A block is a label, projections and patches, both (K, h, w, 3).
    """
    made = []
    for label, *sides in blocks:
        grids = [Image.fromarray(_thumbnails(side, 3)) for side in sides]
        block = Image.new("RGB", (2 * grids[0].width + 6, grids[0].height + 18), PAPER)
        ImageDraw.Draw(block).text((0, 1), label, INK, _font(12))
        for number, grid in enumerate(grids):
            block.paste(grid, (number * (grid.width + 6), 18))
        made.append(block)
    rows = [made[start : start + 4] for start in range(0, len(made), 4)]
    return _sheet(lines, stacked([_beside(row, 16) for row in rows]))


def strip_sheet(lines: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[Pixels, str, str]]]]) -> Image.Image:
    """Zeiler and Fergus's figure 4: for each map (a label) a row of pictures (h, w, 3), with words above and below each."""
    made = []
    for label, cells in rows:
        tiles = [(Image.fromarray(thumbnail(picture)), above, below) for picture, above, below in cells]
        row = Image.new("RGB", (90 + len(tiles) * (THUMB + 10), THUMB + 42), PAPER)
        draw = ImageDraw.Draw(row)
        draw.text((0, 16 + THUMB // 2), label, INK, _font(12), anchor="lm")
        for number, (tile, above, below) in enumerate(tiles):
            left = 90 + number * (THUMB + 10)
            draw.text((left, 1), above, INK, _font(11))
            row.paste(tile, (left, 16))
            draw.text((left, 18 + THUMB), below, INK, _font(9), spacing=1)
        made.append(row)
    return _sheet(lines, stacked(made))


def filter_sheet(lines: Sequence[str], blocks: Sequence[tuple[str, Pixels]], dead: Sequence[bool]) -> Image.Image:
    """The same filters, pictured in several ways, beside each other: each block a label and pictures (K, h, w, 3).

    ``dead``: for each filter whether it is dead; such a one is framed, so that its values can still be seen.
    """
    made = []
    for label, pictures in blocks:
        gap = 3 * GAP
        tiles = np.stack([sized(pictures[..., channel]) for channel in range(3)], axis=3)
        height, width = tiles.shape[1:3]
        grid = Image.fromarray(colour_grid(tiles, FILTER_COLUMNS, gap, fill=255))
        block = Image.new("RGB", (grid.width + 2 * gap, grid.height + 2 * gap + 18), PAPER)
        block.paste(grid, (gap, gap + 18))
        draw = ImageDraw.Draw(block)
        draw.text((gap, 1), label, INK, _font(13))
        for number in (k for k, is_dead in enumerate(dead) if is_dead):
            left = gap + number % FILTER_COLUMNS * (width + gap)
            top = gap + 18 + number // FILTER_COLUMNS * (height + gap)
            draw.rectangle((left - gap, top - gap, left + width + gap - 1, top + height + gap - 1), outline=DEAD, width=gap)
        made.append(block)
    return _sheet(lines, _beside(made, 16))


def row_sheet(lines: Sequence[str], tiles: Sequence[tuple[str, Pixels]], below: Image.Image | None = None) -> Image.Image:
    """Pictures (H, W, 3) of one size in a row with their names above, under the lines of a heading; maybe something below."""
    return _sheet(lines, stacked([_row(tiles), *([below] if below else [])]))


def curves_sheet(
    lines: Sequence[str],
    titles: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float], NDArray[np.floating]]],
    names: Sequence[str],
) -> Image.Image:
    """Curves in a table of axes: a column for each title; a row is (label, places (A,), values (titles, names, A))."""
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
    figure.legend(*cells[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    return _sheet(lines, Image.open(drawn).convert("RGB"))


def legend(names: Sequence[str]) -> Image.Image:
    """The names of numbers 0, 1, ... each beside its colour, one below the other."""
    rows = []
    for number, name in enumerate(names):
        row = Image.new("RGB", (22 + int(_font(13).getlength(name)), 16), PAPER)
        draw = ImageDraw.Draw(row)
        draw.rectangle((0, 1, 13, 14), fill=tuple(LABEL_COLOURS[number % len(LABEL_COLOURS)].tolist()))
        draw.text((20, 0), name, INK, _font(13))
        rows.append(row)
    return stacked(rows)


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures above each other, left edges in line."""
    column = Image.new("RGB", (max(each.width for each in pictures), sum(each.height + 8 for each in pictures) - 8), PAPER)
    top = 0
    for picture in pictures:
        column.paste(picture, (0, top))
        top += picture.height + 8
    return column


def _mark(picture: Image.Image, corner: tuple[int, int], side: int, word: str, colour: tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(picture)
    draw.rectangle((*corner, corner[0] + side - 1, corner[1] + side - 1), fill=colour)
    draw.text((corner[0] + side / 2, corner[1] + side / 2), word, INK, _font(12), anchor="mm")


def _row(tiles: Sequence[tuple[str, Pixels]]) -> Image.Image:
    """Named pictures (H, W, 3) of one size beside each other, their names above."""
    height, width = tiles[0][1].shape[:2]
    row = Image.new("RGB", (len(tiles) * (width + 8) - 8, height + 20), PAPER)
    draw = ImageDraw.Draw(row)
    for number, (name, tile) in enumerate(tiles):
        left = number * (width + 8)
        draw.text((left, 2), name, INK, _font(13))
        row.paste(Image.fromarray(tile), (left, 20))
    return row


def _thumbnails(tiles: Pixels, columns: int) -> Pixels:
    """Pictures (K, h, w, 3) as thumbnails, row by row."""
    small = np.stack([thumbnail(tile) for tile in tiles])
    return colour_grid(small, columns, GAP, fill=255)


def _beside(pictures: Sequence[Image.Image], gap: int) -> Image.Image:
    """Pictures beside each other, upper edges in line."""
    width = sum(each.width + gap for each in pictures) - gap
    row = Image.new("RGB", (width, max(each.height for each in pictures)), PAPER)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def _sheet(lines: Sequence[str], body: Image.Image) -> Image.Image:
    margin, line_height = 12, 20
    width = max([body.width, *(int(_font(14).getlength(line)) for line in lines)])
    head = len(lines) * line_height + 6
    sheet = Image.new("RGB", (width + 2 * margin, body.height + head + 2 * margin), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((margin, margin + number * line_height), line, INK, _font(14))
    sheet.paste(body, (margin, margin + head))
    return sheet


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
