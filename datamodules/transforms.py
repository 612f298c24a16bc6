"""From a stored square image to what the network sees: at random for training, always the same for evaluation.

Images come and go as uint8. Torch resizes bytes fastest where the three channels lie side by side in memory, as stored.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from configs import DataSettings
from datamodules.cache import Pixels

CHANGING, MIXING = 8, 4  # random numbers that an image needs, whatever the settings
LONGEST_ASPECT = 4 / 3
GREY = torch.tensor([0.299, 0.587, 0.114])  # weights of red, green and blue in the grey of ITU-R BT.601


@lru_cache(maxsize=2)
def epoch_random_numbers(count: int, seed: int, epoch: int) -> NDArray[np.float64]:
    """The random numbers of an epoch, (count, 12) from 0 to 1: for each of ``count`` images 8 to change it and 4 to mix it.

    A pure function of its arguments. All at once, as starting a generator for each image takes a tenth of its time.
    """
    return np.random.default_rng((seed, epoch, 1)).uniform(size=(count, CHANGING + MIXING))


def augment(image: Pixels, size: int, settings: DataSettings, numbers: NDArray[np.float64]) -> Tensor:
    """A random crop of ``image``, resized, maybe mirrored, its colours jittered: a pure function of its arguments.

    ``image``: (H, W, 3) uint8, square. ``numbers``: its row of ``draws``. Returns (3, size, size) uint8. The crop covers a
    share of the area between crop_area and 1, with an aspect between 3:4 and 4:3, as in Szegedy et al. 2015 (arXiv 1409.4842,
    section 6).
    """
    area, aspect, x, y, mirror, *jitter = numbers[:CHANGING].tolist()
    top, left, height, width = _crop(image.shape[0], 1 - area * (1 - settings.crop_area), aspect, x, y)
    out = resize(image[top : top + height, left : left + width], size)
    if settings.flip and mirror < 0.5:
        out = out.flip(2)
    if settings.jitter > 0:
        out = color_jitter(out, *(1 + settings.jitter * (2 * number - 1) for number in jitter))
    return out


def resize(image: Pixels, size: int) -> Tensor:
    """The whole of ``image``, (H, W, 3) uint8, as (3, size, size) uint8: what evaluation sees."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)[0].contiguous()


def color_jitter(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    r"""The image (3, H, W) uint8 with its colours changed by three factors, of which 1 changes nothing.

    Brightness multiplies each value, contrast its distance from the image's mean grey, saturation its distance from the pixel's
    grey, one after the other. Together they are one affine map of a pixel x, with the grey weights w and the mean grey m:
    :math:`x' = b c \, (s x + (1 - s) \, w^T x) + b (1 - c) \, m`. It is rounded and clipped once.
    """
    pixels = image.reshape(3, -1).to(torch.float32)
    grey = GREY @ pixels
    half = 0.5  # the conversion to bytes rounds down
    offset = brightness * (1 - contrast) * float(grey.mean()) + half
    added = grey.mul_(brightness * contrast * (1 - saturation)).add_(offset)
    pixels.mul_(brightness * contrast * saturation).add_(added)
    return pixels.clamp_(0, 255).to(torch.uint8).view_as(image)


def cutmix(images: Tensor, targets: Tensor, share: float, numbers: NDArray[np.float64]) -> None:
    """CutMix (Yun et al. 2019, arXiv 1905.04899), in place: a ``share`` of the images gets a rectangle of the next one.

    ``images``: (N, 3, S, S) uint8. ``targets``: (N, classes), each row the shares of an image's classes, mixed by area.
    ``numbers``: the images' rows of ``draws``. The rectangle covers a share of the area drawn from 0 to 1, less where its
    random centre lets it stand out of the image. A pure function of its arguments.
    """
    whole, of_whole = images.clone(), targets.clone()
    side = images.shape[-1]
    for place, (draw, area, x, y) in enumerate(numbers[:, CHANGING:].tolist()):
        if draw >= share:
            continue
        half = side * math.sqrt(area) / 2
        left, right, top, bottom = (round(min(max(0, edge), side)) for edge in (
            side * x - half, side * x + half, side * y - half, side * y + half
        ))  # fmt: skip
        other = (place + 1) % len(images)
        images[place, :, top:bottom, left:right] = whole[other, :, top:bottom, left:right]
        covered = (bottom - top) * (right - left) / side**2
        targets[place] = (1 - covered) * of_whole[place] + covered * of_whole[other]


def _crop(side: int, area: float, aspect: float, x: float, y: float) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop in a square of ``side`` pixels, for numbers in [0, 1).

    A crop of share ``area`` and aspect r fits if area <= r <= 1/area, so r is drawn (on a log scale) from where it fits, and
    never in vain.
    """
    longest = min(math.log(LONGEST_ASPECT), -math.log(area))
    ratio = math.exp(longest * (2 * aspect - 1))
    width = min(side, max(1, round(side * math.sqrt(area * ratio))))
    height = min(side, max(1, round(side * math.sqrt(area / ratio))))
    return int(y * (side - height + 1)), int(x * (side - width + 1)), height, width
