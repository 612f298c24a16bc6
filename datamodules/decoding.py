"""Image files: which files are images, and how one becomes the square of pixels that every data set stores."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from configs import DataSettings
from datamodules.cache import BrokenImageError, Pixels, cached_images, decode_all, refuse_broken
from datamodules.datasets import Images
from viz_callbacks.lens.image_files import FORMATS, UnreadableImageError, as_people_see_it, open_image

SIDE = 256  # pixels; every photograph is stored as a square of this size

SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "system volume information", "@eadir"})
"""What systems leave among people's files, in lower case."""


def is_hidden(path: Path) -> bool:
    """Tell whether a file or folder is there for a program instead of a person: ``.DS_Store``, ``._x.jpg``, ``Thumbs.db``."""
    return path.name.startswith(".") or path.name.lower() in SYSTEM_FILES


@cache
def image_suffixes() -> frozenset[str]:
    """Return the ends of the names of images in ``FORMATS``, in lower case: ``.jpg`` and the like."""
    formats = (*FORMATS, "MPO")  # several JPEGs in one file, which the first of them opens
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def is_image(path: Path) -> bool:
    """Tell by a file's name whether it is an image. What is in it may be of any of ``FORMATS``."""
    return path.suffix.lower() in image_suffixes()


def decode(path: Path) -> Pixels:
    """Decode an image as (256, 256, 3) uint8: upright, in RGB, stretched to a square so that its shape tells nothing.

    A grey image becomes RGB too, what is transparent white. Of several pictures in one file the first is taken.

    Raises:
        BrokenImageError: the file is missing or no sound image.
    """
    with _opened(path) as image:
        return np.array(as_people_see_it(image).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file; whatever is wrong with it becomes BrokenImageError."""
    try:
        with open_image(path) as image:
            yield image
    except UnreadableImageError as error:
        raise BrokenImageError(path, error.reason) from error
    except OSError as error:
        raise BrokenImageError(path, error.strerror or str(error)) from error


def read_grey(path: Path) -> NDArray[np.float32]:
    """Read an image's grey values, (H, W), upright, such as a mask's.

    Raises:
        BrokenImageError: the file is missing or no sound image.
    """
    with _opened(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(image.convert("F"))


def upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image in pixels, from its header, as people see it.

    Raises:
        BrokenImageError: the file is missing or no image.
    """
    with _opened(path) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # the orientation; these lie on their side
        return image.size[::-1] if turned else image.size


class DecodedImages:
    """The images of a folder, decoded each time they are asked for."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self.folder = folder
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Pixels:
        return decode(self.folder / self.files[index])


def open_images(
    settings: DataSettings, cache_file: Path, folder: Path, files: Sequence[str], decode: Callable[[Path], Pixels]
) -> tuple[Images, dict[str, str]]:
    """Open the images, cached or not, all decoded once to find broken ones.

    Returns:
        The sound images, and the files that are left out with the reason of each.

    Raises:
        SettingsError: images are broken and ``data.skip_broken`` is not set, or all are; the cache can't be written.
    """
    if settings.cache:
        cached = cached_images(cache_file, folder, files, decode, settings.skip_broken)
        return cached, cached.broken
    broken: dict[str, str] = {}
    for _ in decode_all(folder, files, decode, broken):
        pass
    if not settings.skip_broken or len(broken) == len(files):
        refuse_broken(folder, len(files), broken)
    return DecodedImages(folder, [file for file in files if file not in broken]), broken
