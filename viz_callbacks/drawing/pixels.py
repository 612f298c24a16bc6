"""Tensors to pixels: signed projections around grey, feature maps and fields of values as colours, grids of them.

A picture is scaled by a robust symmetric range: 0 is mid-grey, plus and minus the range are white and black, what lies
outside is clipped. The range is the 99.5th percentile of the absolute values, so one stray pixel doesn't dim the rest.
"""

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]

PERCENTILE = 0.995
TILE = 55  # side of a feature map on a sheet, about; smaller maps are enlarged by whole factors, larger ones averaged
THUMB = 64  # side of a receptive field on a sheet
FILTER_COLUMNS = 12  # leaves no gap in the last row of 96 filters
GAP = 2
PAPER = (255, 255, 255)
LABEL_COLOURS = np.array(  # Okabe and Ito's: told apart by colour-blind readers too
    [
        (86, 180, 233),
        (230, 159, 0),
        (0, 158, 115),
        (204, 121, 167),
        (213, 94, 0),
        (0, 114, 178),
        (240, 228, 66),
        (120, 120, 120),
    ]
).astype(np.uint8)


def robust_range(values: Tensor) -> float:
    """The 99.5th percentile of the absolute values of a tensor of any shape; 0 when all are 0, NaN when one is not finite."""
    magnitudes = values.detach().float().abs().flatten()
    if not bool(torch.isfinite(magnitudes).all()):
        return float("nan")
    rank = max(1, int(np.ceil(PERCENTILE * magnitudes.numel())))
    range_ = float(magnitudes.kthvalue(rank).values)
    return range_ if range_ > 0 else float(magnitudes.max())


def grey_levels(values: Tensor, range_: float) -> Pixels:
    """Values of any shape as bytes: 0 at 127.5, plus and minus ``range_`` at 255 and 0; all grey when the range is 0 or NaN."""
    if not range_ > 0:
        return np.full(tuple(values.shape), 128, dtype=np.uint8)
    scaled = values.detach().float().div(range_).clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.to(torch.uint8).cpu().numpy()


def signed_picture(projection: Tensor, range_: float) -> Pixels:
    """A projection (3, H, W) as a colour picture (H, W, 3) around grey."""
    return grey_levels(projection, range_).transpose(1, 2, 0)


def map_sprite(maps: Tensor, range_: float, columns: int = 10) -> Pixels:
    """Maps (K, h, w) at native size, side by side without gaps: (rows * h, columns * w); the last row is filled with grey."""
    return grey_grid(grey_levels(maps, range_), columns, gap=0, fill=128)


def colour_sprite(pictures: Pixels) -> Pixels:
    """Pictures (K, h, w, 3) at native size, FILTER_COLUMNS side by side without gaps; the last row is filled with grey."""
    return colour_grid(pictures, FILTER_COLUMNS, gap=0, fill=128)


def heat(values: Tensor) -> Pixels:
    """A field of values (h, w) as colours (h, w, 3): from dark blue at 0 to yellow at 1."""
    colours: Pixels = colormaps["viridis"](values.detach().float().clamp(0, 1).cpu().numpy(), bytes=True)[..., :3]
    return colours


def label_colours(labels: Tensor) -> Pixels:
    """A field of numbers (h, w) as colours (h, w, 3); ``legend`` tells which."""
    colours: Pixels = LABEL_COLOURS[labels.cpu().numpy() % len(LABEL_COLOURS)]
    return colours


def framed(field: Pixels, height: int, width: int, margin: int) -> Pixels:
    """A small field (h, w, 3) enlarged to a picture (height, width, 3) with an empty margin, its pixels as rectangles."""
    picture = Image.new("RGB", (width, height), PAPER)
    inner = (max(1, width - 2 * margin), max(1, height - 2 * margin))
    picture.paste(Image.fromarray(field).resize(inner, Image.Resampling.NEAREST), (margin, margin))
    return np.asarray(picture)


def sized(maps: Pixels) -> Pixels:
    """Maps (K, h, w) enlarged by a whole factor or averaged down to about TILE pixels a side."""
    height = maps.shape[1]
    if height > 1.5 * TILE:
        factor = round(height / TILE)
        kept = maps[:, : maps.shape[1] // factor * factor, : maps.shape[2] // factor * factor]
        blocks = kept.reshape(len(maps), kept.shape[1] // factor, factor, kept.shape[2] // factor, factor)
        averaged: Pixels = blocks.mean(axis=(2, 4)).round().astype(np.uint8)
        return averaged
    factor = max(1, round(TILE / height))
    return maps.repeat(factor, axis=1).repeat(factor, axis=2)


def thumbnail(picture: Pixels) -> Pixels:
    """A picture (h, w, 3) at THUMB pixels a side: enlarged with its pixels visible, or averaged down."""
    how = Image.Resampling.NEAREST if picture.shape[0] < THUMB else Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize((THUMB, THUMB), how))


def grey_grid(tiles: Pixels, columns: int, gap: int, fill: int) -> Pixels:
    """Tiles (K, h, w) row by row in one picture, ``gap`` pixels apart."""
    count, height, width = tiles.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + gap, width + gap), fill, dtype=np.uint8)
    cells[:count, :height, :width] = tiles
    by_row = cells.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    grid = by_row.reshape(rows * (height + gap), columns * (width + gap))
    return grid[: grid.shape[0] - gap, : grid.shape[1] - gap]


def colour_grid(tiles: Pixels, columns: int, gap: int, fill: int) -> Pixels:
    """Tiles (K, h, w, 3) row by row in one picture, as ``grey_grid`` does for one channel."""
    return np.stack([grey_grid(tiles[..., channel], columns, gap, fill) for channel in range(3)], axis=2)
