"""From a stored square image to what the network sees: at random for training, always the same for evaluation.

Everything stays uint8. Torchvision resizes bytes fastest where the three channels lie side by side in memory, as stored.
"""

import math

import numpy as np
import torch
import torchvision.transforms.v2.functional as F  # type: ignore[import-untyped]  # torchvision ships no types
from torch import Tensor

from configs import DataSettings
from datamodules.cache import Pixels

LONGEST_ASPECT = 4 / 3


def augmented(image: Pixels, size: int, settings: DataSettings, seed: int, epoch: int, index: int) -> Tensor:
    """A random crop of ``image``, resized, maybe mirrored, its colours jittered: a pure function of its arguments.

    ``image``: (H, W, 3) uint8, square. Returns (3, size, size) uint8. The crop covers a share of the area between crop_area and
    1, with an aspect between 3:4 and 4:3, as in Szegedy et al. 2015 (arXiv 1409.4842, section 6).
    """
    rng = np.random.default_rng((seed, epoch, index))
    area, aspect, x, y, mirror, *jitter = rng.uniform(size=8)  # as many numbers whatever the settings
    top, left, height, width = _crop(image.shape[0], 1 - area * (1 - settings.crop_area), aspect, x, y)
    out: Tensor = F.resized_crop(_channels_first(image), top, left, height, width, [size, size], antialias=True)
    if settings.flip and mirror < 0.5:
        out = F.horizontal_flip(out)
    if settings.jitter > 0:
        brightness, contrast, saturation = (1 + settings.jitter * (2 * number - 1) for number in jitter)
        out = F.adjust_brightness(out, brightness)
        out = F.adjust_contrast(out, contrast)
        out = F.adjust_saturation(out, saturation)
    return out


def resized(image: Pixels, size: int) -> Tensor:
    """The whole of ``image``, (H, W, 3) uint8, as (3, size, size) uint8: what evaluation sees."""
    out: Tensor = F.resize(_channels_first(image), [size, size], antialias=True)
    return out


def _channels_first(image: Pixels) -> Tensor:
    """(3, H, W), over the same memory."""
    return torch.from_numpy(image).permute(2, 0, 1)


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
