"""The files of Caltech-101: found, unpacked or downloaded, then listed and counted."""

import os
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from configs import SettingsError
from datamodules.caltech101.archives import extract_from_zip, unpack_tar
from datamodules.caltech101.checksums import verify
from datamodules.caltech101.classes import BACKGROUND, image_names
from datamodules.caltech101.download import URL, DownloadError, download
from datamodules.decoding import is_hidden, is_image

IMAGES = "101_ObjectCategories"
ANNOTATIONS = "Annotations"
IMAGES_ARCHIVE = "101_ObjectCategories.tar.gz"
ANNOTATIONS_ARCHIVES = ("Annotations.tar.gz", "Annotations.tar")
OFFICIAL_ZIP = "caltech-101.zip"  # holds the two archives
PARTIAL = ".caltech101.partial"
LOCK = ".caltech101.lock"
NAMED = 10  # missing images are named up to so many
NAMED_CLASSES = 3
ANEW = "set data.root to another folder, into which the whole data set is unpacked or downloaded"

PLACES = (".", "caltech101", "caltech-101")
"""Where the images or their archives may be below ``data.root``: in it, where torchvision puts them, where the zip unpacks."""


@dataclass(frozen=True)
class Listing:
    """The images below one folder: classes in order of name, and in each class the files in order of name."""

    class_names: list[str]
    files: list[str]  # such as Faces/image_0001.jpg
    targets: list[int]
    missing: list[str]  # of the published ones


def image_folder(root: Path, archives: Path | None) -> Path:
    """Return the folder 101_ObjectCategories: ``root`` itself if that is its name, else in one of the ``PLACES`` below it.

    Where there is none, it is unpacked into ``root`` together with Annotations: from ``archives`` (a folder with the archives
    or the official zip, or one of these files), else from such files in the ``PLACES``, else from a download. Several processes
    may ask at once.

    Raises:
        SettingsError: the images can't be had, or ``root`` has classes of somebody's own, among which nothing is put.
    """
    if folder := unpacked_folder(root):
        if (root / PARTIAL).exists():  # a process is about to remove it, or was killed before it could
            with suppress(OSError), FileLock(root / LOCK):
                shutil.rmtree(root / PARTIAL, ignore_errors=True)
        return folder
    if (own := _own_classes(root)) and not any(archive.is_file() for archive in _archives_below(root)):
        named = ", ".join(own[:NAMED_CLASSES]) + (" and others" if len(own) > NAMED_CLASSES else "")
        raise SettingsError(
            f"data.root={root}: has images in {named}, and no {IMAGES}; for classes of your own: data=folder "
            f"data.root={root}; for Caltech-101: {ANEW}"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / LOCK):
            if folder := unpacked_folder(root):  # another process was faster
                return folder
            with _partial_folder(root / PARTIAL) as partial:
                _unpack(_archive_folder(archives, root, partial), partial, root)
    except OSError as error:
        raise SettingsError(
            f"data.root={root}: Caltech-101 cannot be put there ({error}); choose another folder with data.root"
        ) from error
    return root / IMAGES


def unpacked_folder(root: Path) -> Path | None:
    """Return the folder of the images, if it is there: ``root`` itself or in one of the ``PLACES`` below it."""
    if root.name == IMAGES and root.is_dir():
        return root
    return next((root / place / IMAGES for place in PLACES if (root / place / IMAGES).is_dir()), None)


def _own_classes(root: Path) -> list[str]:
    """Return the names of the folders in ``root``, or in its ``train/``, that hold images; none where they are fewer than two.

    Folders of folders don't count: they are other data sets, beside which this one may be put.
    """
    for place in (root, root / "train"):
        folders = sorted(path for path in place.iterdir() if path.is_dir() and not is_hidden(path)) if place.is_dir() else []
        names = [folder.name for folder in folders if any(is_image(path) and not is_hidden(path) for path in folder.iterdir())]
        if len(names) > 1:
            return names
    return []


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
    if found := next((archive for archive in _archives_below(archives or root) if archive.is_file()), None):
        return found.parent if found.name == IMAGES_ARCHIVE else _extract(found, partial)
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


def _archives_below(folder: Path) -> list[Path]:
    """Return the places below a folder where archives are looked for, in that order."""
    return [folder / place / name for place in PLACES for name in (IMAGES_ARCHIVE, OFFICIAL_ZIP)]


def _extract(archive: Path, partial: Path) -> Path:
    """Take the two archives out of the official zip into a folder below ``partial``, and return it."""
    verify(archive)
    folder = partial / "archives"
    folder.mkdir()
    extract_from_zip(archive, {IMAGES_ARCHIVE, *ANNOTATIONS_ARCHIVES}, folder)
    if not (folder / IMAGES_ARCHIVE).is_file():
        raise SettingsError(f"{archive}: there is no {IMAGES_ARCHIVE} in it; the official zip is at {URL}")
    return folder


def _unpack(archives: Path, partial: Path, root: Path) -> None:
    """Unpack the archives into ``partial`` and move what is complete to ``root``: the images last, as they are looked for."""
    archive = archives / IMAGES_ARCHIVE
    if archives.parent != partial:  # those out of the official zip are as sound as that
        verify(archive)
    unpack_tar(archive, partial)
    if fault := _explain_incomplete(_found(partial / IMAGES)):
        raise SettingsError(f"{archive}: {fault}; the official archive is in {URL}")
    for annotations in (archives / name for name in ANNOTATIONS_ARCHIVES):
        if annotations.is_file() and not (root / ANNOTATIONS).exists():
            if archives.parent != partial:
                verify(annotations)
            unpack_tar(annotations, partial)
            os.replace(partial / ANNOTATIONS, root / ANNOTATIONS)
    os.replace(partial / IMAGES, root / IMAGES)


def list_images(folder: Path, background: bool, skip_missing: bool = False) -> Listing:
    """List all images below ``folder``, with or without the class BACKGROUND_Google.

    Raises:
        SettingsError: a class or an image is missing, unless those are to be skipped, or too many; the splits hold for the
            complete data set only.
    """
    found = _found(folder)
    if fault := _explain_incomplete(found, skip_missing):
        raise SettingsError(
            f"{folder}: {fault}; for classes of your own: data=folder data.root={folder}; for Caltech-101: {ANEW}; "
            "to go on without what is missing: data.skip_broken=true"
        )
    if background and not any(file.startswith(f"{BACKGROUND}/") for file in found):
        raise SettingsError(f"{folder}: has no {BACKGROUND}; leave out data.background, or {ANEW}")
    names = image_names(background)
    files = [file for file in names if file in found]
    class_names = list(dict.fromkeys(file.partition("/")[0] for file in files))
    targets = [class_names.index(file.partition("/")[0]) for file in files]
    return Listing(class_names, files, targets, [file for file in names if file not in found])


def _found(folder: Path) -> set[str]:
    """Return the images below a folder. Only ``*.jpg`` count: the published data has a stray file ``tmp``."""
    places = [place for place in folder.iterdir() if place.is_dir() and not is_hidden(place)] if folder.is_dir() else []
    return {f"{place.name}/{path.name}" for place in places for path in place.glob("*.jpg") if not is_hidden(path)}


def _explain_incomplete(found: Set[str], skip_missing: bool = False) -> str:
    """Say how much of the data set is there, and what is missing or too much; nothing where it is complete."""
    names = image_names(background=False)
    own = {file for file in found if not file.startswith(f"{BACKGROUND}/")}
    missing, surplus = [name for name in names if name not in own], sorted(own - set(names))
    if not surplus and (not missing or (skip_missing and own)):
        return ""
    wanted, there = ({file.partition("/")[0] for file in files} for files in (names, own))
    fault = f"has {len(there)} of {len(wanted)} classes and {len(own):,} of {len(names):,} images of Caltech-101"
    for word, files in (("missing", missing if there == wanted else []), ("not of it", surplus)):
        if files:
            fault += f", {word}: {', '.join(files[:NAMED])}" + (" and others" if len(files) > NAMED else "")
    return fault
