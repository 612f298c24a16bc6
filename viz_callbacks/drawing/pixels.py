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

from viz_callbacks.drawing import palette

Pixels = NDArray[np.uint8]
"""A picture: (h, w) in grey or (h, w, 3) in colour, 0 to 255; or several of one size, (K, h, w) or (K, h, w, 3)."""

PERCENTILE = 0.995
TILE_SIDE = 55  # of a feature map on a sheet, about; smaller maps are enlarged by whole factors, larger ones averaged
MAGNIFIED_SIDE = 128  # of small projections on a sheet, at most
THUMBNAIL_SIDE = 64  # of a receptive field on a sheet
MAP_COLUMNS = 10
FILTER_COLUMNS = 12  # leaves no gap in the last row of 96 filters
GAP = 2
ZERO = 128  # the grey level of 0
WHITE = 255
BACKGROUND = (WHITE, WHITE, WHITE)
LABEL_COLOURS = (
    palette.SKY_BLUE,
    palette.ORANGE,
    palette.BLUISH_GREEN,
    palette.REDDISH_PURPLE,
    palette.VERMILLION,
    palette.BLUE,
    palette.YELLOW,
    palette.DARK_GREY,
)


def robust_range(values: Tensor) -> float:
    """Return the 99.5th percentile of the absolute values of a tensor of any shape; NaN when one isn't finite.

    Where that percentile is 0, the largest absolute value takes its place: a single one is still worth a picture.

    >>> robust_range(torch.tensor([0.0, -7.0, 3.0]))
    7.0
    """
    magnitudes = values.detach().float().abs().flatten()
    if not bool(torch.isfinite(magnitudes).all()):
        return float("nan")
    rank = max(1, int(np.ceil(PERCENTILE * magnitudes.numel())))
    range_ = float(magnitudes.kthvalue(rank).values)
    return range_ if range_ > 0 else float(magnitudes.max())


def grey_levels(values: Tensor, range_: float) -> Pixels:
    """Return values of any shape as bytes: 0 at 127.5, plus and minus ``range_`` at 255 and 0.

    All are grey when the range is 0 or NaN.

    >>> grey_levels(torch.tensor([-9.0, -2.0, 0.0, 1.0, 2.0]), range_=2.0).tolist()
    [0, 0, 128, 191, 255]
    """
    if not range_ > 0:
        return np.full(tuple(values.shape), ZERO, dtype=np.uint8)
    scaled = values.detach().float().div(range_).clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.to(torch.uint8).cpu().numpy()


def shown_channels(images: Tensor) -> Tensor:
    """Return what is shown of images (..., C, H, W) as red, green and blue: the first three channels, or one in grey.

    >>> shown_channels(torch.rand(2, 1, 5, 5)).shape, shown_channels(torch.rand(6, 5, 5)).shape
    (torch.Size([2, 3, 5, 5]), torch.Size([3, 5, 5]))
    """
    channels = images.shape[-3]
    if channels >= 3:
        return images[..., :3, :, :]
    return images[..., :1, :, :].expand(*images.shape[:-3], 3, *images.shape[-2:])


def picture_of(image: Tensor) -> Pixels:
    """Return an image (C, H, W) of uint8 as pixels (H, W, 3)."""
    pixels: Pixels = shown_channels(image).permute(1, 2, 0).cpu().numpy()
    return pixels


def magnify(picture: Pixels) -> Pixels:
    """Enlarge a small picture (h, w, 3) by a whole factor, its pixels as squares, up to MAGNIFIED_SIDE pixels a side.

    >>> magnify(np.zeros((48, 48, 3), np.uint8)).shape
    (96, 96, 3)
    """
    factor = max(1, MAGNIFIED_SIDE // max(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def signed_picture(projection: Tensor, range_: float) -> Pixels:
    """Return a projection (C, H, W) as a colour picture (H, W, 3) around grey, of ``shown_channels``."""
    return grey_levels(shown_channels(projection), range_).transpose(1, 2, 0)


def heatmap(values: Tensor) -> Pixels:
    """Return a field of values (h, w) as colours (h, w, 3): from dark blue at 0 to yellow at 1."""
    colours: Pixels = colormaps["viridis"](values.detach().float().clamp(0, 1).cpu().numpy(), bytes=True)[..., :3]
    return colours


def colour_labels(labels: Tensor) -> Pixels:
    """Return a field of numbers (h, w) as colours (h, w, 3); ``sheets.legend`` tells which."""
    colours = np.array([palette.rgb(colour) for colour in LABEL_COLOURS], dtype=np.uint8)
    coloured: Pixels = colours[labels.cpu().numpy() % len(colours)]
    return coloured


def enlarge_field(field: Pixels, height: int, width: int, margin: int) -> Pixels:
    """Enlarge a small field (h, w, 3) to a picture (height, width, 3) with an empty margin, its pixels as rectangles."""
    picture = Image.new("RGB", (width, height), BACKGROUND)
    inner = (max(1, width - 2 * margin), max(1, height - 2 * margin))
    picture.paste(Image.fromarray(field).resize(inner, Image.Resampling.NEAREST), (margin, margin))
    return np.asarray(picture)


def overlay(field: Pixels, photograph: Pixels, margin: int) -> Pixels:
    """Lay a field's colours over a photograph in grey, half of each, except for a margin; all (h, w, 3).

    >>> black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    >>> overlay(black, white, margin=1)[:, :, 0].tolist()
    [[255, 255, 255, 255], [255, 127, 127, 255], [255, 127, 127, 255], [255, 255, 255, 255]]
    """
    mixed = np.array(Image.fromarray(photograph).convert("L").convert("RGB"))
    inside = (slice(margin, photograph.shape[0] - margin), slice(margin, photograph.shape[1] - margin))
    mixed[inside] = (mixed[inside].astype(np.uint16) + field[inside]) // 2
    return mixed


def resize_maps(maps: Pixels) -> Pixels:
    """Enlarge maps (K, h, w) by a whole factor or average them down, to about TILE_SIDE pixels a side."""
    height = maps.shape[1]
    if height > 1.5 * TILE_SIDE:
        factor = round(height / TILE_SIDE)
        kept = maps[:, : maps.shape[1] // factor * factor, : maps.shape[2] // factor * factor]
        blocks = kept.reshape(len(maps), kept.shape[1] // factor, factor, kept.shape[2] // factor, factor)
        averaged: Pixels = blocks.mean(axis=(2, 4)).round().astype(np.uint8)
        return averaged
    factor = max(1, round(TILE_SIDE / height))
    return maps.repeat(factor, axis=1).repeat(factor, axis=2)


def thumbnail(picture: Pixels) -> Pixels:
    """Resize a picture (h, w, 3) to THUMBNAIL_SIDE pixels a side: enlarged with its pixels visible, or averaged down."""
    resampling = Image.Resampling.NEAREST if picture.shape[0] < THUMBNAIL_SIDE else Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), resampling))


def grey_grid(tiles: Pixels, columns: int, gap: int, fill: int) -> Pixels:
    """Lay tiles (K, h, w) out row by row in one picture, ``gap`` pixels apart; what is left empty has the value ``fill``."""
    count, height, width = tiles.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + gap, width + gap), fill, dtype=np.uint8)
    cells[:count, :height, :width] = tiles
    by_row = cells.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    grid = by_row.reshape(rows * (height + gap), columns * (width + gap))
    return grid[: grid.shape[0] - gap, : grid.shape[1] - gap]


def colour_grid(tiles: Pixels, columns: int, gap: int, fill: int) -> Pixels:
    """Lay tiles (K, h, w, 3) out row by row in one picture, as ``grey_grid`` does for one channel."""
    return np.stack([grey_grid(tiles[..., channel], columns, gap, fill) for channel in range(3)], axis=2)


def map_sprite(maps: Tensor, range_: float, columns: int = MAP_COLUMNS) -> Pixels:
    """Lay maps (K, h, w) out at native size, side by side without gaps: (rows * h, columns * w); empty places are grey.

    >>> map_sprite(torch.rand(96, 13, 13), range_=1.0).shape
    (130, 130)
    """
    return grey_grid(grey_levels(maps, range_), columns, gap=0, fill=ZERO)


def filter_sprite(filters: Pixels) -> Pixels:
    """Lay pictures of filters (K, h, w, 3) out at native size, as ``map_sprite`` does, FILTER_COLUMNS side by side."""
    return colour_grid(filters, FILTER_COLUMNS, gap=0, fill=ZERO)
