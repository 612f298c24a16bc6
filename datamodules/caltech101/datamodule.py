"""Caltech-101: 8,677 photographs and drawings of 101 kinds of object (Fei-Fei, Fergus, Perona 2004)."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from configs import SettingsError
from datamodules.cache import Pixels, cached_images
from datamodules.caltech101.files import ANNOTATIONS, BACKGROUND, image_folder, list_images
from datamodules.caltech101.masks import BAD_ANNOTATIONS, polygon_mask, read_polygon
from datamodules.caltech101.near_duplicates import near_duplicate_pairs
from datamodules.datamodule import ImageDataModule, Mask
from datamodules.datasets import Images, ImageSet
from datamodules.splits import Indices, groups

SIDE = 256  # pixels; every image is stored as a square of this size
MAX_PIXELS = 20_000_000  # of one file; the largest of the data set has 13.9 million


class Caltech101(ImageDataModule):
    """The photographs in ``settings.root``, cached or decoded as they are asked for."""

    title = "Caltech-101"
    default_probes: ClassVar[list[str]] = [
        "Faces/image_0327.jpg",
        "airplanes/image_0601.jpg",
        "Motorbikes/image_0599.jpg",
        "Leopards/image_0151.jpg",
        "sunflower/image_0050.jpg",
        "dalmatian/image_0040.jpg",
        "pagoda/image_0004.jpg",
        "stop_sign/image_0059.jpg",
    ]

    def prepare_data(self) -> None:
        """Find, unpack or download the images and build the cache, once on each machine."""
        self.read()

    def read(self) -> ImageSet:
        """Return all images and what is known of them. Raises SettingsError if they can't be had."""
        root = Path(self.settings.root)
        folder = self.folder()
        listing = list_images(folder, self.settings.background)
        images: Images
        if self.settings.cache:
            cache = Path(self.settings.cache_dir) if self.settings.cache_dir else root / "cache"
            name = "caltech101_with_background.npy" if self.settings.background else "caltech101.npy"
            images = cached_images(cache / name, folder, listing.files, decode)
        else:
            images = DecodedImages(folder, listing.files)
        return ImageSet(
            class_names=listing.class_names,
            files=listing.files,
            targets=np.array(listing.targets, dtype=np.int64),
            groups=groups(listing.files, near_duplicate_pairs(listing.files)),
            images=images,
        )

    def original_sizes(self) -> Indices:
        """Return (N, 2): width and height of the files in pixels, from their headers."""
        folder = self.folder()
        return np.array([_size(folder / file) for file in self.files])

    def mask(self, index: int) -> Mask | None:
        """Return the object's mask (S, S) as people drew it. None without annotations, for the background and bad ones."""
        folder, file = self.folder(), self.files[index]
        annotations = folder.with_name(ANNOTATIONS)
        if file in BAD_ANNOTATIONS or file.startswith(BACKGROUND) or not annotations.is_dir():
            return None
        return polygon_mask(read_polygon(annotations, file), _size(folder / file), self.image_size)

    def folder(self) -> Path:
        """Return the folder of the class folders; unpack or download them first if need be."""
        archives = Path(self.settings.archives) if self.settings.archives else None
        return image_folder(Path(self.settings.root), archives)


class DecodedImages:
    """The images of a folder, decoded each time they are asked for."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self.folder = folder
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Pixels:
        return decode(self.folder / self.files[index])


def decode(path: Path) -> Pixels:
    """Decode a JPEG file as (256, 256, 3) uint8: RGB also if it is grey, stretched to a square so that its shape tells nothing.

    Raises:
        SettingsError: the file is no sound JPEG.
    """
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            square = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SettingsError(f"{path}: cannot be decoded ({error}); put a sound file in its place") from error
    return np.array(square)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path, formats=("JPEG",)) as image:
        return image.size
