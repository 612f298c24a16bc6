"""The images that people ask to look at: those of the data set by name, and files from anywhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from datamodules.datamodule import ImageDataModule
from datamodules.decoding import decode
from datamodules.transforms import resize

UNKNOWN = -1
"""The class of an image that is not of the data set."""


@dataclass(frozen=True)
class ProbeImage:
    """An image as evaluation sees it.

    name: the data set's, or the file's own. pixels: (3, S, S) uint8. target: its class, or ``UNKNOWN``. note: the part of the
    data that it belongs to, if any. mask: (S, S) bool, true on the object, false everywhere where that is not known.
    """

    name: str
    pixels: Tensor
    target: int
    note: str
    mask: Tensor


def probe_images(data: ImageDataModule, names: Sequence[str]) -> list[ProbeImage]:
    """Return the images of these names, or the data set's own choice for no names.

    A name is one that ``ImageDataModule.find`` knows, or else a file from elsewhere, whose class is unknown.

    Raises:
        SettingsError: for a name that is neither, or a file that can't be read.
    """
    return [_probe_image(data, name) for name in names or data.default_probes]


def _probe_image(data: ImageDataModule, name: str) -> ProbeImage:
    file = Path(name).expanduser()
    if data.number(name) is None and file.is_file():
        unknown = torch.zeros(data.image_size, data.image_size, dtype=torch.bool)
        return ProbeImage(file.name, resize(decode(file), data.image_size), UNKNOWN, "not of the data set", unknown)
    numbers = data.find([name])
    (number,) = numbers
    return ProbeImage(
        data.files[number], data.images(numbers)[0], int(data.targets[number]), data.split.part(number), data.masks(numbers)[0]
    )
