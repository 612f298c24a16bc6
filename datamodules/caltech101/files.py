"""The files of Caltech-101: found, unpacked or downloaded, then listed and counted."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from configs import SettingsError
from datamodules.caltech101.archives import extract_from_zip, unpack_tar
from datamodules.caltech101.download import URL, DownloadError, download

IMAGES = "101_ObjectCategories"
ANNOTATIONS = "Annotations"
IMAGES_ARCHIVE = "101_ObjectCategories.tar.gz"
ANNOTATIONS_ARCHIVES = ("Annotations.tar.gz", "Annotations.tar")
BACKGROUND = "BACKGROUND_Google"

CLASS_COUNT, IMAGE_COUNT = 101, 8_677  # without the background, which has 467 more images


@dataclass(frozen=True)
class Listing:
    """The images below one folder: classes in order of name, and in each class the files in order of name."""

    class_names: list[str]
    files: list[str]  # such as Faces/image_0001.jpg
    targets: list[int]


def image_folder(root: Path, archives: Path | None) -> Path:
    """Return the folder 101_ObjectCategories in ``root``, or ``root`` itself if that is its name.

    Where there is none, it is unpacked from ``archives``, or else downloaded, together with ``root``/Annotations. Several
    processes may ask at once.

    Raises:
        SettingsError: the images can't be had.
    """
    if root.name == IMAGES and root.is_dir():
        return root
    folder = root / IMAGES
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".caltech101.lock"):
            if folder.is_dir():  # another process was faster
                return folder
            with _partial_folder(root / ".caltech101.partial") as partial:
                _unpack(archives or _download_archives(root, partial), partial, root)
    except OSError as error:
        raise SettingsError(
            f"data.root={root}: Caltech-101 cannot be put there ({error}); choose another folder with data.root"
        ) from error
    return folder


@contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder to work in, which is removed at the end; so is, first, what a killed process has left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download_archives(root: Path, folder: Path) -> Path:
    """Download the two archives into a folder below ``folder``, and return it."""
    archives = folder / "archives"
    archives.mkdir()
    archive = archives / "caltech-101.zip"
    try:
        download(archive)
    except DownloadError as error:
        raise SettingsError(
            f"Caltech-101 is not in data.root={root} and could not be downloaded ({error}). "
            f"Set data.root or CALTECH101_ROOT to the folder that holds {IMAGES}, or data.archives or CALTECH101_ARCHIVES "
            f"to a folder with {IMAGES_ARCHIVE}, or try again with a network that reaches {URL}. "
            "Without any of them, data=shapes trains on generated images."
        ) from error
    extract_from_zip(archive, {IMAGES_ARCHIVE, *ANNOTATIONS_ARCHIVES}, archives)
    return archives


def _unpack(archives: Path, partial: Path, root: Path) -> None:
    """Unpack the archives into ``partial`` and move what is complete to ``root``: the images last, as they are looked for."""
    archive = archives / IMAGES_ARCHIVE
    if not archive.is_file():
        raise SettingsError(f"data.archives={archives}: there is no {IMAGES_ARCHIVE} in it; correct it or leave it out")
    unpack_tar(archive, partial)
    list_images(partial / IMAGES, background=True)
    for annotations in (archives / name for name in ANNOTATIONS_ARCHIVES):
        if annotations.is_file() and not (root / ANNOTATIONS).exists():
            unpack_tar(annotations, partial)
            os.replace(partial / ANNOTATIONS, root / ANNOTATIONS)
    os.replace(partial / IMAGES, root / IMAGES)


def list_images(folder: Path, background: bool) -> Listing:
    """List all images below ``folder``, with or without the class BACKGROUND_Google.

    Only ``*.jpg`` count, since the published data has a stray file ``tmp`` among them.

    Raises:
        SettingsError: a class or an image is missing or too many; the splits hold for the complete data set only.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    objects = [name for name in names if name != BACKGROUND]
    files = {name: sorted(path.name for path in (folder / name).glob("*.jpg")) for name in names}
    count = sum(len(files[name]) for name in objects)
    if (len(objects), count) != (CLASS_COUNT, IMAGE_COUNT):
        raise SettingsError(
            f"{folder}: has {len(objects)} of {CLASS_COUNT} classes and {count:,} of {IMAGE_COUNT:,} images of Caltech-101; "
            "remove the folder to have it unpacked anew"
        )
    if background and not files.get(BACKGROUND):
        raise SettingsError(
            f"{folder}: has no {BACKGROUND}; remove the folder to have it unpacked anew, or leave out data.background"
        )
    class_names = names if background else objects
    return Listing(
        class_names,
        [f"{name}/{file}" for name in class_names for file in files[name]],
        [target for target, name in enumerate(class_names) for _ in files[name]],
    )
