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

AUGMENT_NUMBERS, CUTMIX_NUMBERS = 8, 4  # random numbers that an image needs, whatever the settings
LONGEST_ASPECT = 4 / 3
GREY = torch.tensor([0.299, 0.587, 0.114])  # weights of red, green and blue in the grey of ITU-R BT.601


@lru_cache(maxsize=2)
def epoch_random_numbers(count: int, seed: int, epoch: int) -> NDArray[np.float64]:
    """Draw an epoch's random numbers, (count, 12) from 0 to 1: for each of ``count`` images 8 to augment it and 4 for CutMix.

    A pure function of its arguments. All at once, as starting a generator for each image takes a tenth of its time.
    """
    return np.random.default_rng((seed, epoch, 1)).uniform(size=(count, AUGMENT_NUMBERS + CUTMIX_NUMBERS))


def augment(image: Pixels, size: int, settings: DataSettings, numbers: NDArray[np.float64]) -> Tensor:
    """Crop an image at random, resize it, maybe mirror it, and jitter its colours: a pure function of the arguments.

    The crop covers a share of the area between crop_area and 1, with an aspect between 3:4 and 4:3, as in Szegedy et al. 2015
    (arXiv 1409.4842, section 6).

    Args:
        image: (H, W, 3) uint8, square.
        size: side of the result in pixels.
        settings: which of these to do, and how much.
        numbers: the image's row of ``epoch_random_numbers``.

    Returns:
        (3, size, size) uint8.
    """
    area, aspect, x, y, mirror, *jitter = numbers[:AUGMENT_NUMBERS].tolist()
    top, left, height, width = _crop(image.shape[0], 1 - area * (1 - settings.crop_area), aspect, x, y)
    out = resize(image[top : top + height, left : left + width], size)
    if settings.flip and mirror < 0.5:
        out = out.flip(2)
    if settings.jitter > 0:
        out = color_jitter(out, *(1 + settings.jitter * (2 * number - 1) for number in jitter))
    return out


def resize(image: Pixels, size: int) -> Tensor:
    """Resize the whole of an image (H, W, 3) uint8 to (3, size, size) uint8: what evaluation sees."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)[0].contiguous()


def color_jitter(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Change the colours of an image (3, H, W) uint8 by three factors, of which 1 changes nothing.

    Brightness multiplies each value, contrast its distance from the image's mean grey, saturation its distance from the pixel's
    grey, one after the other. Together they are one affine map of a pixel x, with the grey weights w and the mean grey m,
    which is rounded and clipped once:

        x' = b c (s x + (1 - s) w^T x) + b (1 - c) m
    """
    pixels = image.reshape(3, -1).to(torch.float32)
    grey = GREY @ pixels
    half = 0.5  # the conversion to bytes rounds down
    offset = brightness * (1 - contrast) * float(grey.mean()) + half
    added = grey.mul_(brightness * contrast * (1 - saturation)).add_(offset)
    pixels.mul_(brightness * contrast * saturation).add_(added)
    return pixels.clamp_(0, 255).to(torch.uint8).view_as(image)


def cutmix(images: Tensor, targets: Tensor, share: float, numbers: NDArray[np.float64]) -> None:
    """Paste a rectangle of the next image into a share of the images: CutMix, in place (Yun et al. 2019, arXiv 1905.04899).

    The rectangle covers a share of the area drawn from 0 to 1, less where its random centre lets it stand out of the image. A
    pure function of its arguments.

    Args:
        images: (N, 3, S, S) uint8.
        targets: (N, classes), each row the shares of an image's classes, which are mixed by area.
        share: of the images, from 0 to 1.
        numbers: the images' rows of ``epoch_random_numbers``.
    """
    whole, of_whole = images.clone(), targets.clone()
    side = images.shape[-1]
    for index, (chance, area, x, y) in enumerate(numbers[:, AUGMENT_NUMBERS:].tolist()):
        if chance >= share:
            continue
        half = side * math.sqrt(area) / 2
        left, right, top, bottom = (round(min(max(0, edge), side)) for edge in (
            side * x - half, side * x + half, side * y - half, side * y + half
        ))  # fmt: skip
        other = (index + 1) % len(images)
        images[index, :, top:bottom, left:right] = whole[other, :, top:bottom, left:right]
        covered = (bottom - top) * (right - left) / side**2
        targets[index] = (1 - covered) * of_whole[index] + covered * of_whole[other]


def _crop(side: int, area: float, aspect: float, x: float, y: float) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a crop in a square of ``side`` pixels, for numbers in [0, 1).

    A crop of share ``area`` and aspect r fits if area <= r <= 1/area, so r is drawn (on a log scale) from where it fits, and
    never in vain.
    """
    longest = min(math.log(LONGEST_ASPECT), -math.log(area))
    ratio = math.exp(longest * (2 * aspect - 1))
    width = min(side, max(1, round(side * math.sqrt(area * ratio))))
    height = min(side, max(1, round(side * math.sqrt(area / ratio))))
    return int(y * (side - height + 1)), int(x * (side - width + 1)), height, width
