"""Files that are whole or not there at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(target: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the name ``target`` at the end of the ``with`` block, or never.

    The file lies beside its target, since a rename is atomic only within one file system, and is forced to disk before it is
    renamed. Where the block raises, the new file is removed and an earlier one stays. A killed process leaves its half under
    the name ``.NAME.partial``, where the next one that writes ``target`` replaces it.

    Args:
        target: the file to write, in a folder that exists.

    Raises:
        OSError: the file can't be written, such as on a full disk. The path that the error names is ``target``.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
        _sync_folder(target.parent)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(problem, OSError) and problem.filename in (None, str(partial)):  # not another file that the block reads
            raise OSError(problem.errno, problem.strerror, str(target)) from problem
        raise


def atomic_write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8, its line ends as they are, whole or not at all. Raises OSError as ``atomic_write`` does."""
    with atomic_write(target) as file:
        file.write(text.encode())


def _sync_folder(folder: Path) -> None:
    """Force a rename in this folder to disk; only POSIX systems open folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
