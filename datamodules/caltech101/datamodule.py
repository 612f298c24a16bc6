"""Caltech-101: 8,677 photographs and drawings of 101 kinds of object (Fei-Fei, Fergus, Perona 2004)."""

from pathlib import Path

import numpy as np

from datamodules.caltech101.classes import BACKGROUND
from datamodules.caltech101.files import ANNOTATIONS, image_folder, list_images
from datamodules.caltech101.masks import BAD_ANNOTATIONS, polygon_mask, read_polygon
from datamodules.caltech101.near_duplicates import near_duplicate_pairs
from datamodules.datamodule import ImageDataModule, Mask
from datamodules.datasets import ImageSet
from datamodules.decoding import decode, open_images, upright_size
from datamodules.splits import Indices, check_sizes, groups


class Caltech101(ImageDataModule):
    """The photographs in ``settings.root``, cached or decoded as they are asked for."""

    title = "Caltech-101"
    default_probes = (
        "Faces/image_0327.jpg",
        "airplanes/image_0601.jpg",
        "Motorbikes/image_0599.jpg",
        "Leopards/image_0151.jpg",
        "sunflower/image_0050.jpg",
        "dalmatian/image_0040.jpg",
        "pagoda/image_0004.jpg",
        "stop_sign/image_0059.jpg",
    )

    def prepare_data(self) -> None:
        """Find, unpack or download the images and build the cache, once on each machine."""
        if self.settings.cache:
            self.read()
        else:
            self.folder()

    def read(self) -> ImageSet:
        """Return all images and what is known of them. Raises SettingsError if they can't be had."""
        folder = self.folder()
        listing = list_images(folder, self.settings.background, self.settings.skip_broken)
        check_sizes(np.array(listing.targets, dtype=np.int64), listing.class_names, self.settings)
        images, broken = open_images(self.settings, self.cache_file(), folder, listing.files, decode)
        sound = [number for number, file in enumerate(listing.files) if file not in broken]
        files = [listing.files[number] for number in sound]
        return ImageSet(
            class_names=listing.class_names,
            files=files,
            targets=np.array(listing.targets, dtype=np.int64)[sound],
            groups=groups(files, near_duplicate_pairs(files)),
            images=images,
            skipped=dict.fromkeys(listing.missing, "missing") | broken,
        )

    def cache_file(self) -> Path:
        """Return where the decoded images are kept."""
        folder = Path(self.settings.cache_dir) if self.settings.cache_dir else self.folder().with_name("cache")
        return folder / ("caltech101_with_background.npy" if self.settings.background else "caltech101.npy")

    def original_sizes(self) -> Indices:
        """Return (N, 2): width and height of the files in pixels, from their headers."""
        folder = self.folder()
        return np.array([upright_size(folder / file) for file in self.files])

    def mask(self, index: int) -> Mask | None:
        """Return the object's mask (S, S) as people drew it. None without annotations, for the background and bad ones."""
        folder, file = self.folder(), self.files[index]
        annotations = folder.with_name(ANNOTATIONS)
        if file in BAD_ANNOTATIONS or file.startswith(BACKGROUND) or not annotations.is_dir():
            return None
        return polygon_mask(read_polygon(annotations, file), upright_size(folder / file), self.image_size)

    def folder(self) -> Path:
        """Return the folder of the class folders; unpack or download them first if need be."""
        archives = Path(self.settings.archives) if self.settings.archives else None
        return image_folder(Path(self.settings.root), archives)
