"""The files of Caltech-101: found, unpacked or downloaded, then listed and counted."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from configs import SettingsError
from datamodules.caltech101.archives import extract_from_zip, unpack_tar
from datamodules.caltech101.download import URL, DownloadError, download
from datamodules.decoding import is_hidden

IMAGES = "101_ObjectCategories"
ANNOTATIONS = "Annotations"
IMAGES_ARCHIVE = "101_ObjectCategories.tar.gz"
ANNOTATIONS_ARCHIVES = ("Annotations.tar.gz", "Annotations.tar")
OFFICIAL_ZIP = "caltech-101.zip"  # holds the two archives
BACKGROUND = "BACKGROUND_Google"

PLACES = (".", "caltech101", "caltech-101")
"""Where the images or their archives may be below ``data.root``: in it, where torchvision puts them, where the zip unpacks."""

CLASS_COUNT, IMAGE_COUNT = 101, 8_677  # without the background, which has 467 more images


@dataclass(frozen=True)
class Listing:
    """The images below one folder: classes in order of name, and in each class the files in order of name."""

    class_names: list[str]
    files: list[str]  # such as Faces/image_0001.jpg
    targets: list[int]


def image_folder(root: Path, archives: Path | None) -> Path:
    """Return the folder 101_ObjectCategories: ``root`` itself if that is its name, else in one of the ``PLACES`` below it.

    Where there is none, it is unpacked into ``root`` together with Annotations: from ``archives`` (a folder with the archives
    or the official zip, or one of these files), else from such files in the ``PLACES``, else from a download. Several processes
    may ask at once.

    Raises:
        SettingsError: the images can't be had.
    """
    if folder := _unpacked(root):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".caltech101.lock"):
            if folder := _unpacked(root):  # another process was faster
                return folder
            with _partial_folder(root / ".caltech101.partial") as partial:
                _unpack(_archive_folder(archives, root, partial), partial, root)
    except OSError as error:
        raise SettingsError(
            f"data.root={root}: Caltech-101 cannot be put there ({error}); choose another folder with data.root"
        ) from error
    return root / IMAGES


def _unpacked(root: Path) -> Path | None:
    if root.name == IMAGES and root.is_dir():
        return root
    return next((root / place / IMAGES for place in PLACES if (root / place / IMAGES).is_dir()), None)


@contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder to work in, which is removed at the end; so is, first, what a killed process has left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _archive_folder(archives: Path | None, root: Path, partial: Path) -> Path:
    """Return a folder that has the two archives, extracted from the official zip where only that is found, or downloaded."""
    if archives and archives.is_file():
        return archives.parent if archives.name == IMAGES_ARCHIVE else _extract(archives, partial)
    for folder in ((archives or root) / place for place in PLACES):
        if (folder / IMAGES_ARCHIVE).is_file():
            return folder
        if (folder / OFFICIAL_ZIP).is_file():
            return _extract(folder / OFFICIAL_ZIP, partial)
    if archives:
        raise SettingsError(
            f"data.archives={archives}: there is no {IMAGES_ARCHIVE} or {OFFICIAL_ZIP} in it; correct it or leave it out"
        )
    archive = partial / OFFICIAL_ZIP
    try:
        download(archive)
    except DownloadError as error:
        raise SettingsError(
            f"Caltech-101 is not in data.root={root} and could not be downloaded ({error}). "
            f"Set data.root or CALTECH101_ROOT to the folder that holds {IMAGES}, or data.archives or CALTECH101_ARCHIVES "
            f"to a folder with {IMAGES_ARCHIVE}, or try again with a network that reaches {URL}. "
            "Without any of them, data=shapes trains on generated images."
        ) from error
    return _extract(archive, partial)


def _extract(archive: Path, partial: Path) -> Path:
    """Take the two archives out of the official zip into a folder below ``partial``, and return it."""
    folder = partial / "archives"
    folder.mkdir()
    extract_from_zip(archive, {IMAGES_ARCHIVE, *ANNOTATIONS_ARCHIVES}, folder)
    if not (folder / IMAGES_ARCHIVE).is_file():
        raise SettingsError(f"{archive}: there is no {IMAGES_ARCHIVE} in it; the official zip is at {URL}")
    return folder


def _unpack(archives: Path, partial: Path, root: Path) -> None:
    """Unpack the archives into ``partial`` and move what is complete to ``root``: the images last, as they are looked for."""
    archive = archives / IMAGES_ARCHIVE
    unpack_tar(archive, partial)
    if fault := _explain_incomplete(_files_by_class(partial / IMAGES)):
        raise SettingsError(f"{archive}: {fault}; the official archive is in {URL}")
    for annotations in (archives / name for name in ANNOTATIONS_ARCHIVES):
        if annotations.is_file() and not (root / ANNOTATIONS).exists():
            unpack_tar(annotations, partial)
            os.replace(partial / ANNOTATIONS, root / ANNOTATIONS)
    os.replace(partial / IMAGES, root / IMAGES)


def list_images(folder: Path, background: bool) -> Listing:
    """List all images below ``folder``, with or without the class BACKGROUND_Google.

    Raises:
        SettingsError: a class or an image is missing or too many; the splits hold for the complete data set only.
    """
    files = _files_by_class(folder)
    anew = "set data.root to another folder, into which the whole data set is unpacked or downloaded"
    if fault := _explain_incomplete(files):
        raise SettingsError(
            f"{folder}: {fault}; for classes of your own: data=folder data.root={folder}; for Caltech-101: {anew}"
        )
    if background and BACKGROUND not in files:
        raise SettingsError(f"{folder}: has no {BACKGROUND}; leave out data.background, or {anew}")
    class_names = [name for name in files if background or name != BACKGROUND]
    return Listing(
        class_names,
        [f"{name}/{file}" for name in class_names for file in files[name]],
        [target for target, name in enumerate(class_names) for _ in files[name]],
    )


def _files_by_class(folder: Path) -> dict[str, list[str]]:
    """Return the images of each class in order of name. Only ``*.jpg`` count: the published data has a stray file ``tmp``."""
    found = {}
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        if place.is_dir() and not is_hidden(place):
            files = sorted(path.name for path in place.glob("*.jpg") if not is_hidden(path))
            if files:
                found[place.name] = files
    return found


def _explain_incomplete(files: Mapping[str, Sequence[str]]) -> str:
    """Say how many classes and images there are of those that make up the data set; nothing where it is complete."""
    counts = [len(of_class) for name, of_class in files.items() if name != BACKGROUND]
    if (len(counts), sum(counts)) == (CLASS_COUNT, IMAGE_COUNT):
        return ""
    return f"has {len(counts)} of {CLASS_COUNT} classes and {sum(counts):,} of {IMAGE_COUNT:,} images of Caltech-101"
