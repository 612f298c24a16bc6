"""Anybody's own images: a folder for each class.

    photos/cat/*.jpg                     photos/train/cat/*.jpg
    photos/dog/*.png                     photos/val/cat/*.jpg
    photos/masks/cat/*.png               photos/test/cat/*.jpg

At the right the split is settled; val or test is drawn from train where it isn't there. In either form ``masks/`` beside the
classes, or beside the parts, may hold black images with a white object, under the path of the image that they belong to, with
any end of the name.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from PIL import Image

from configs import DataSettings, SettingsError
from datamodules.datamodule import ImageDataModule, Mask
from datamodules.datasets import ImageSet
from datamodules.decoding import decode, is_hidden, is_image, open_images, read_grey, upright_size
from datamodules.splits import Indices, check_sizes, groups

PARTS = ("train", "val", "test")
MASKS = "masks"
PROBES = 8  # images that are looked at, unless others are named
CACHE = Path("data/cache")  # not among the user's images, where it would be a class
LONGEST_TITLE = 50  # characters of the folder's name in that of its cache: a file system takes 255 bytes, with all endings


@dataclass
class Listing:
    """The images below a folder, their classes in order of name.

    ``files`` are relative to the folder, ``parts`` the part of each file or, where the split isn't settled, the empty word.
    ``others`` are files that are no images by their names, or lie in no class's folder.
    """

    class_names: list[str]
    files: list[str] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


class ImageFolder(ImageDataModule):
    """The images below ``settings.root``, cached or decoded as they are asked for."""

    default_probes: Sequence[str] = ()

    def __init__(self, settings: DataSettings, image_size: int, seed: int) -> None:
        super().__init__(settings, image_size, seed)
        self.root = Path(settings.root)
        self.title = self.root.resolve().name

    def prepare_data(self) -> None:
        """Say which files are no images, and build the cache."""
        if self._image_set is not None:  # Lightning asks once more
            return
        listing = list_images(self.root)
        if listing.others:
            rank_zero_only(print)(f"{self.root}: {_describe(listing.others)} passed over")
        if self.settings.cache:
            self.read()

    def read(self) -> ImageSet:
        """Return all images and what is known of them. Raises SettingsError if the folder isn't as described above."""
        listing = list_images(self.root)
        targets, parts = np.array(listing.targets, dtype=np.int64), np.array(listing.parts)
        check_sizes(targets, listing.class_names, self.settings, _indices(parts))
        images, broken = open_images(self.settings, self.cache_file(), self.root, listing.files, decode)
        sound = [number for number, file in enumerate(listing.files) if file not in broken]
        files = [listing.files[number] for number in sound]
        return ImageSet(
            class_names=listing.class_names,
            files=files,
            targets=targets[sound],
            groups=groups(files, copies(self.root, files)),
            images=images,
            parts=_indices(parts[sound]),
            skipped=broken,
        )

    def cache_file(self) -> Path:
        """Return where the decoded images are kept: folders of one name may be several."""
        place = hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:8]
        folder = Path(self.settings.cache_dir) if self.settings.cache_dir else CACHE
        return folder / f"{self.title[:LONGEST_TITLE]}-{place}.npy"

    def setup(self, stage: str | None = None) -> None:
        """Read and split the images, as the base class does, and choose test images of as many classes as can be as probes."""
        super().setup(stage)
        test, count = self.split.test, len(self.class_names)
        of_class = [test[self.targets[test] == target].tolist() for target in range(count)]
        in_turn = [index for turn in zip_longest(*of_class) for index in turn if index is not None]
        step = max(1, count // PROBES)
        self.default_probes = [self.files[index] for index in in_turn[: PROBES * step : step]]

    def original_sizes(self) -> Indices:
        """Return (N, 2): width and height of the files in pixels, from their headers."""
        return np.array([upright_size(self.root / file) for file in self.files])

    def folder(self) -> Path:
        """Return the folder that ``files`` lie below."""
        return self.root

    def mask(self, index: int) -> Mask | None:
        """Return the object's mask (S, S): where the image's mask is brighter than half of its brightest; None without one.

        Raises:
            SettingsError: the mask can't be read, or is of another size than its image.
        """
        image = self.root / self.files[index]
        places = [self.root / MASKS / self.files[index]]
        if self.image_set.parts:
            part, _, below = self.files[index].partition("/")
            places.append(self.root / part / MASKS / below)
        near = [path for place in places for path in place.parent.glob("*") if path.stem == image.stem]
        found = sorted(path for path in near if is_image(path) and not is_hidden(path))
        if not found:
            return None
        grey = read_grey(found[0])
        width, height = upright_size(image)
        if grey.shape != (height, width):
            raise SettingsError(f"{found[0]}: a mask must have the size of its image, {width} x {height} pixels")
        inside = Image.fromarray((grey > grey.max() / 2).astype(np.float32))
        return np.asarray(inside.resize((self.image_size, self.image_size), Image.Resampling.BOX)) > 0.5


def list_images(root: Path) -> Listing:
    """List all images below a folder of classes.

    Raises:
        SettingsError: there are fewer than two classes, one without images, or parts of a split with different classes; the
            folder is missing or can't be read.
    """
    if not root.is_dir():
        raise SettingsError(f"data.root={root}: there is no such folder")
    try:
        return _list_images(root)
    except OSError as error:
        raise SettingsError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _list_images(root: Path) -> Listing:
    settled = _holds_folders_only(root / "train")
    parts = {part: root / part for part in PARTS if (root / part).is_dir()} if settled else {"": root}
    classes = {part: _class_folders(folder) for part, folder in parts.items()}
    class_names = classes["train" if settled else ""]
    for part, names in classes.items():
        if differing := sorted(set(names) ^ set(class_names)):
            raise SettingsError(
                f"data.root={root}: train/ and {part}/ must hold the same classes, but only one of them has "
                f"{', '.join(differing)}; for a split that is drawn: data.root={root / 'train'}"
            )
    listing = Listing(class_names)
    for part, folder in parts.items():
        for target, name in enumerate(class_names):
            files = list(_visible_files(folder / name))
            images = sorted(path.relative_to(root).as_posix() for path in files if is_image(path))
            if not images:
                raise SettingsError(f"{folder / name}: has no images, and each folder is a class; put some there or move it")
            listing.files += images
            listing.targets += [target] * len(images)
            listing.parts += [part] * len(images)
            listing.others += [path for path in files if not is_image(path)]
        listing.others += [path for path in folder.iterdir() if path.is_file() and not is_hidden(path)]
    if settled:
        beside = {path for path in root.iterdir() if not is_hidden(path)} - {*parts.values(), root / MASKS}
        if folders := sorted(path.name for path in beside if path.is_dir()):
            raise SettingsError(
                f"data.root={root}: has a split in train/, and beside it {', '.join(folders)}; move what is to be used into "
                "the parts, and the rest elsewhere"
            )
        listing.others += sorted(beside)
    if len(class_names) < 2:
        raise SettingsError(
            f"data.root={root}: has {len(class_names)} classes, and two are needed: put the images of each class into a folder "
            f"of its own, such as {root}/cat and {root}/dog"
        )
    return listing


def _indices(parts: NDArray[np.str_]) -> dict[str, Indices]:
    """Return the images (N,) of each part that there is."""
    return {part: np.flatnonzero(parts == part) for part in PARTS if part in parts}


def _holds_folders_only(folder: Path) -> bool:
    """Tell a part of a split, or the masks, from a class of that name: the folder has folders, and no images itself."""
    if not folder.is_dir():
        return False
    visible = [path for path in folder.iterdir() if not is_hidden(path)]
    return any(path.is_dir() for path in visible) and not any(path.is_file() and is_image(path) for path in visible)


def _class_folders(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path))
    for name in names:
        if (folder / name).resolve() in (folder.resolve(), *folder.resolve().parents):
            raise SettingsError(f"{folder / name}: is a link back to a folder that it lies in; move it elsewhere")
    return [name for name in names if not (name == MASKS and _holds_folders_only(folder / name))]


def _visible_files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, at any depth, but the hidden ones and those in hidden folders."""
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        yield from (Path(place, name) for name in files if not is_hidden(Path(name)))


def _raise(error: OSError) -> None:
    raise error


def copies(folder: Path, files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of files with the same content, each with the first of its kind. Only files of equal size are read."""
    sizes = [os.stat(folder / file).st_size for file in files]
    frequency = Counter(sizes)
    first: dict[bytes, str] = {}
    for file, size in zip(files, sizes, strict=True):
        if frequency[size] > 1:
            with open(folder / file, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
            if digest in first:
                yield first[digest], file
            first.setdefault(digest, file)


def _describe(others: Sequence[Path]) -> str:
    """Count the files by the ends of their names: 3 files (.heic 2, .txt 1)."""
    ends = Counter(path.suffix.lower() or "no ending" for path in others)
    counts = ", ".join(f"{end} {count}" for end, count in sorted(ends.items(), key=lambda pair: (-pair[1], pair[0])))
    return f"{len(others)} files that are no images, or in no class's folder ({counts}),"
