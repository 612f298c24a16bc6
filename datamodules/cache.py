"""All images of a data set: decoded side by side, and kept in one file that is mapped into memory."""

import hashlib
import json
import os
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypedDict

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
BLOCK = 1 << 20  # bytes of the cache under one checksum
SAMPLED = 32  # blocks that are compared at each start; the check command compares all


class BrokenImageError(SettingsError):
    """An image that can't be read; ``reason`` says why, without its path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: cannot be decoded ({reason})")
        self.reason = reason


class Record(TypedDict):
    """What the JSON file beside a cache says of it.

    source: digest of the files that it was made from. bytes: its size. checksums: CRC-32 of each ``BLOCK``. broken: the files
    that were left out, with the reason of each.
    """

    source: str
    bytes: int
    checksums: list[int]
    broken: dict[str, str]


class CachedImages:
    """Images (N, H, W, 3) uint8 in a ``.npy`` file, which another process that is sent them opens instead of copying.

    ``broken`` are the files that were left out, with the reason of each.
    """

    def __init__(self, path: Path, broken: dict[str, str]) -> None:
        self.path = path
        self.broken = broken
        # Copy on write: torch wants writable memory, and the file stays as it is.
        self._images: Pixels = np.load(path, mmap_mode="c")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Pixels:
        image: Pixels = self._images[index]
        return image

    def __reduce__(self) -> tuple[type["CachedImages"], tuple[Path, dict[str, str]]]:
        return CachedImages, (self.path, self.broken)


def cached_images(
    path: Path, folder: Path, files: Sequence[str], decode: Callable[[Path], Pixels], skip_broken: bool = False
) -> CachedImages:
    """Open the cache of decoded images, and build it first if it is missing, out of date or damaged.

    A JSON file beside the cache says what it was made from. Several processes may ask at once: one builds, the others wait.

    Args:
        path: the cache, a ``.npy`` file.
        folder: where the images lie.
        files: of the images, below ``folder``.
        decode: reads one file as (H, W, 3) uint8, all of one size.
        skip_broken: leave out the images that ``decode`` refuses.

    Raises:
        SettingsError: the cache can't be written, or there are images that ``decode`` refuses; all are named.
    """
    source = _digest(folder, files)
    record = _current_record(path, source)
    if record is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                record = _current_record(path, source)  # another process may have been faster
                if record is None:
                    if _read_record(path, source):
                        print(f"{path}: damaged, so it is built anew", flush=True)
                    record = _build(path, folder, files, decode, source, skip_broken)
        except OSError as error:
            raise SettingsError(
                f"data.cache_dir={path.parent}: the cache of decoded images cannot be written there "
                f"({error.strerror or error}); choose another folder with data.cache_dir, or do without by data.cache=false"
            ) from error
    if not skip_broken:
        refuse_broken(folder, len(files), record["broken"])
    return CachedImages(path, record["broken"])


def decode_all(
    folder: Path, files: Sequence[str], decode: Callable[[Path], Pixels], broken: dict[str, str]
) -> Iterator[Pixels]:
    """Yield all sound images in order, decoded in threads; the others join ``broken`` with their reasons."""

    def attempt(path: Path) -> Pixels | BrokenImageError:
        try:
            return decode(path)
        except BrokenImageError as error:
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, progress_bar(MofNCompleteColumn()) as progress:
        task = progress.add_task("Decoding images", total=len(files))
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            for file, image in zip(batch, pool.map(attempt, [folder / file for file in batch]), strict=True):
                if isinstance(image, BrokenImageError):
                    broken[file] = image.reason
                else:
                    yield image
                progress.advance(task)


def refuse_broken(folder: Path, count: int, broken: dict[str, str]) -> None:
    """Raise SettingsError if images are broken, of so many; it names them, if there are many the first."""
    if not broken:
        return
    named = [str(BrokenImageError(folder / file, reason)) for file, reason in broken.items()]
    if len(named) > NAMED:
        named[NAMED:] = [f"and {len(named) - NAMED} more; all of them: python -m datamodules.check {folder}"]
    raise SettingsError(
        f"{len(broken)} of {count} images can't be read; put sound files in their place, "
        f"or leave them out with data.skip_broken=true: {'; '.join(named)}"
    )


def check_cache(path: Path, folder: Path, files: Sequence[str]) -> tuple[bool, str]:
    """Compare all blocks of a cache with what was written, for ``python -m datamodules.check``.

    Where one differs, the cache counts as missing from now on.

    Returns:
        Whether it can be relied on, and a line that says so. One that is missing can: the next start builds it.
    """
    if not path.exists():
        return True, f"{path}: there is no cache yet"
    record = _read_record(path, _digest(folder, files))
    if record is None:
        return True, f"{path}: out of date; the next start builds it anew"
    with path.open("rb") as file:
        pairs = list(zip(_checksums(file), record["checksums"], strict=True))
    damaged = sum(found != written for found, written in pairs)
    if damaged:
        _record(path).unlink()
        return False, f"{path}: {damaged} of {len(pairs)} blocks are damaged; the next start builds it anew"
    return True, f"{path}: sound"


def _build(
    path: Path, folder: Path, files: Sequence[str], decode: Callable[[Path], Pixels], source: str, skip_broken: bool
) -> Record:
    """Write the images in order. Ordinary writes, since a full disk kills whoever writes through a memory map."""
    broken: dict[str, str] = {}
    shape: tuple[int, ...] = ()
    with atomic_write(path) as output:
        for image in decode_all(folder, files, decode, broken):
            if not shape:
                shape = image.shape
                _write_header(output, (len(files), *shape))
            output.write(image.tobytes())
        if not skip_broken or len(broken) == len(files):
            refuse_broken(folder, len(files), broken)
        output.seek(0)
        _write_header(output, (len(files) - len(broken), *shape))  # as long as before: NumPy leaves room for the number
        _record(path).unlink(missing_ok=True)  # of the earlier cache, which is about to be replaced
    with path.open("rb") as file:
        record = Record(source=source, bytes=path.stat().st_size, checksums=list(_checksums(file)), broken=broken)
    atomic_write_text(_record(path), json.dumps(record))
    return record


def _write_header(output: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(output, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _checksums(file: BinaryIO) -> Iterator[int]:
    while block := file.read(BLOCK):
        yield zlib.crc32(block)


def _record(path: Path) -> Path:
    return path.with_suffix(".json")


def _digest(folder: Path, files: Sequence[str]) -> str:
    """Return a digest that changes whenever a file is added, removed, renamed or written."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = os.stat(folder / file)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError as error:  # such as a link that leads nowhere; it counts among the broken ones
            state = f"error {error.errno}"
        digest.update(os.fsencode(f"{file} {state}\n"))
    return digest.hexdigest()


def _read_record(path: Path, source: str) -> Record | None:
    """Read what is known of the cache; None where it is missing, cut off or made from other files."""
    try:
        record: Record = json.loads(_record(path).read_text())
        matches = (record["source"], record["bytes"]) == (source, path.stat().st_size)
        whole = len(record["checksums"]) == -(-record["bytes"] // BLOCK)
        return record if matches and whole and isinstance(record["broken"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _current_record(path: Path, source: str) -> Record | None:
    """Read what is known of the cache; None also where one of some blocks, others each time, isn't as it was written."""
    record = _read_record(path, source)
    if record is None:
        return None
    blocks = range(1, len(record["checksums"]))
    sample = [0, *random.Random().sample(blocks, min(SAMPLED, len(blocks)))]  # not the generator that a run's seed has set
    with path.open("rb") as file:
        for number in sorted(sample):
            file.seek(number * BLOCK)
            if zlib.crc32(file.read(BLOCK)) != record["checksums"][number]:
                return None
    return record
