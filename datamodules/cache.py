"""All images of a data set: decoded side by side, and kept in one file that is mapped into memory."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.progress import MofNCompleteColumn

from configs import SettingsError
from configs.files import atomic_write, atomic_write_text
from datamodules.progress import progress_bar

Pixels = NDArray[np.uint8]

BATCH = 256  # images decoded ahead of the writing
NAMED = 10  # unreadable images are named up to so many


class CachedImages:
    """Images (N, H, W, 3) uint8 in a ``.npy`` file, which another process that is sent them opens instead of copying."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Copy on write: torch wants writable memory, and the file stays as it is.
        self._images: Pixels = np.load(path, mmap_mode="c")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Pixels:
        image: Pixels = self._images[index]
        return image

    def __reduce__(self) -> tuple[type["CachedImages"], tuple[Path]]:
        return CachedImages, (self.path,)


def cached_images(path: Path, folder: Path, files: Sequence[str], decode: Callable[[Path], Pixels]) -> CachedImages:
    """Open the cache of decoded images, and build it first if it is missing or out of date.

    A JSON file beside the cache says what it was made from. Several processes may ask at once: one builds, the others wait.

    Args:
        path: the cache, a ``.npy`` file.
        folder: where the images lie.
        files: of the images, below ``folder``.
        decode: reads one file as (H, W, 3) uint8, all of one size.

    Raises:
        SettingsError: the cache can't be written, or there are images that ``decode`` refuses; all are named.
    """
    source = _digest(folder, files)
    if not _is_current(path, source):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not _is_current(path, source):  # another process may have been faster
                    _build(path, folder, files, decode)
                    atomic_write_text(_record(path), json.dumps({"source": source, "bytes": path.stat().st_size}))
        except OSError as error:
            raise SettingsError(
                f"data.cache_dir={path.parent}: the cache of decoded images cannot be written there "
                f"({error.strerror or error}); choose another folder with data.cache_dir, or do without by data.cache=false"
            ) from error
    return CachedImages(path)


def decode_all(folder: Path, files: Sequence[str], decode: Callable[[Path], Pixels]) -> Iterator[Pixels]:
    """Yield all images in order, decoded in threads.

    Raises:
        SettingsError: at the end, if there were images that ``decode`` refused with one: so that all of them are named at once.
    """

    def attempt(path: Path) -> Pixels | SettingsError:
        try:
            return decode(path)
        except SettingsError as error:
            return error

    faults: list[SettingsError] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, progress_bar(MofNCompleteColumn()) as progress:
        task = progress.add_task("Decoding images", total=len(files))
        for start in range(0, len(files), BATCH):
            for image in pool.map(attempt, [folder / file for file in files[start : start + BATCH]]):
                if isinstance(image, SettingsError):
                    faults.append(image)
                else:
                    yield image
                progress.advance(task)
    if faults:
        named = "; ".join(map(str, faults[:NAMED])) + (f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else "")
        count = f"{len(faults)} of {len(files)} images"
        raise SettingsError(f"{count} can't be read; put sound files in their place or move them elsewhere: {named}")


def _build(path: Path, folder: Path, files: Sequence[str], decode: Callable[[Path], Pixels]) -> None:
    """Write the images in order. Ordinary writes, since a full disk kills whoever writes through a memory map."""
    with atomic_write(path) as output:
        for image in decode_all(folder, files, decode):
            if output.tell() == 0:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *image.shape)}
                np.lib.format.write_array_header_1_0(output, header)
            output.write(image.tobytes())
        _record(path).unlink(missing_ok=True)  # of the earlier cache, which is about to be replaced


def _record(path: Path) -> Path:
    return path.with_suffix(".json")


def _digest(folder: Path, files: Sequence[str]) -> str:
    """Return a digest that changes whenever a file is added, removed, renamed or written."""
    status = [os.stat(folder / file) for file in files]
    lines = (f"{file} {stat.st_size} {stat.st_mtime_ns}\n" for file, stat in zip(files, status, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _is_current(path: Path, source: str) -> bool:
    try:
        record = json.loads(_record(path).read_text())
        return bool(record == {"source": source, "bytes": path.stat().st_size})
    except (OSError, ValueError):
        return False
