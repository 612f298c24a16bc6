"""Unpacking archives of unknown origin: only plain files and folders, inside the target, within limits."""

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from configs import SettingsError

MAX_MEMBERS = 20_000
MAX_BYTES = 1_000_000_000
MAX_HEADER = 1 << 20  # bytes of a name or of other facts of one member
HEADERS = 4096  # bytes that the headers of a member take, or less
LONGEST_NAME = 100  # characters of a name in a message


DAMAGES = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError, RuntimeError,
)  # fmt: skip
"""What Python's readers raise for archives that are damaged, encrypted, or made to hurt; a RecursionError is a RuntimeError."""


class _LimitedReads:
    """A tar as ``tarfile`` reads it: files in small pieces, but a header in one, however long it says that it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        if self._file.tell() > MAX_BYTES + MAX_MEMBERS * HEADERS:
            raise tarfile.ReadError(f"more than {MAX_BYTES:,} bytes with all headers")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack a tar, compressed or not, into ``folder``.

    Python's own ``filter="data"`` can be got round in some releases (CVE-2025-4517 and others), so it is only the second guard.

    Raises:
        SettingsError: the archive is damaged, too large, or holds anything but files and folders inside itself.
    """
    try:
        with _opened(archive) as file, tarfile.open(fileobj=cast(BinaryIO, _LimitedReads(file)), mode="r:") as tar:
            tar.extractall(folder, members=_safe_members(tar, archive), filter="data")
    except DAMAGES as error:
        raise SettingsError(f"{archive}: cannot be unpacked into {folder.parent} ({_in_one_line(error)})") from error


def _opened(archive: Path) -> BinaryIO:
    with archive.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(archive)) if compressed else archive.open("rb")


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _safe_members(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    names: set[str] = set()
    size = 0
    for member in tar:
        path = PurePosixPath(member.name)
        size += member.size
        if not (member.isreg() or member.isdir()):
            fault = "is neither a file nor a folder"
        elif path.is_absolute() or ".." in path.parts or "\\" in member.name:
            fault = "points outside the archive"
        elif str(path) in names:
            fault = "is there twice"
        elif len(names) >= MAX_MEMBERS or size > MAX_BYTES:
            fault = f"is past the limit of {MAX_MEMBERS:,} files and {MAX_BYTES:,} bytes"
        else:
            names.add(str(path))
            yield member
            continue
        raise SettingsError(f"{archive}: refused to unpack it, because its member {member.name[:LONGEST_NAME]!r} {fault}")


def extract_from_zip(archive: Path, names: set[str], folder: Path) -> None:
    """Copy the files called ``names``, in whatever folder of the zip they are, straight into ``folder``.

    Raises:
        SettingsError: the zip is damaged, or holds more than ``MAX_BYTES`` under these names.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [member for member in zipped.infolist() if PurePosixPath(member.filename).name in names]
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise SettingsError(f"{archive}: refused to unpack it, because it holds more than {MAX_BYTES:,} bytes")
            for member in members:
                with zipped.open(member) as source, open(folder / PurePosixPath(member.filename).name, "wb") as target:
                    shutil.copyfileobj(source, target)
    except DAMAGES as error:
        raise SettingsError(f"{archive}: cannot be unpacked into {folder} ({_in_one_line(error)})") from error
