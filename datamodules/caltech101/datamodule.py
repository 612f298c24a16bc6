"""Caltech-101: 8,677 photographs and drawings of 101 kinds of object (Fei-Fei, Fergus, Perona 2004)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from configs import SettingsError
from datamodules.cache import Pixels, cached_images
from datamodules.caltech101.files import ANNOTATIONS, BACKGROUND, image_folder, list_images
from datamodules.caltech101.masks import BAD, filled, outline
from datamodules.datamodule import ImageDataModule, Mask
from datamodules.datasets import Images, ImageSet
from datamodules.splits import Indices, groups

SIDE = 256  # pixels; every image is stored as a square of this size
MAX_PIXELS = 20_000_000  # of one file; the largest of the data set has 13.9 million

NEAR_DUPLICATES = Path(__file__).with_name("near_duplicates.tsv")


class Caltech101(ImageDataModule):
    """The photographs, from ``settings.root``, cached or decoded as they are asked for."""

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
        """All images and what is known of them. Raises SettingsError if they cannot be had."""
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
            groups=groups(listing.files, same_pictures(listing.files)),
            images=images,
        )

    def original_sizes(self) -> Indices:
        """(N, 2): width and height of the files, from their headers."""
        folder = self.folder()
        return np.array([_size(folder / file) for file in self.files])

    def mask(self, index: int) -> Mask | None:
        """Where the object is, as people outlined it. None without annotations, for the background and for bad masks."""
        folder, file = self.folder(), self.files[index]
        annotations = folder.with_name(ANNOTATIONS)
        if file in BAD or file.startswith(BACKGROUND) or not annotations.is_dir():
            return None
        return filled(outline(annotations, file), _size(folder / file), self.image_size)

    def folder(self) -> Path:
        """Where the class folders are; unpacked or downloaded if need be."""
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
    """The JPEG file as (256, 256, 3) uint8: RGB also if it is grey, stretched to a square so that its shape tells nothing.

    Raises SettingsError for a file that is no sound JPEG.
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


def same_pictures(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of files that a split must keep together: near-duplicates, and each photograph of Faces with its Faces_easy."""
    for line in NEAR_DUPLICATES.read_text(encoding="utf-8").splitlines():
        if not line.startswith(("#", "category_a")):
            category_a, file_a, category_b, file_b = line.split("\t")
            yield f"{category_a}/{file_a}", f"{category_b}/{file_b}"
    for file in files:
        category, _, name = file.partition("/")
        if category == "Faces":
            yield file, f"Faces_easy/{name}"
