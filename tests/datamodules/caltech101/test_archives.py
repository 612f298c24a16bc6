"""Unsafe archives are refused with nothing left outside the partial folder."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import SettingsError
from datamodules.caltech101 import archives, files
from datamodules.caltech101.archives import unpack_tar
from tests.datamodules.stand_in import add


def special(name: str, kind: bytes, target: str = "") -> Callable[[tarfile.TarFile], None]:
    def write(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.linkname = target
        tar.addfile(member)

    return write


def twice(tar: tarfile.TarFile) -> None:
    add(tar, "a/b", b"1")
    add(tar, "a/./b", b"2")


def many(tar: tarfile.TarFile) -> None:
    for number in range(20):
        add(tar, str(number), b"")


UNSAFE: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "parent": (lambda tar: add(tar, "a/../../escaped", b"x"), "points outside"),
    "absolute": (lambda tar: add(tar, "/escaped", b"x"), "points outside"),
    "backslash": (lambda tar: add(tar, "..\\escaped", b"x"), "points outside"),
    "symbolic link": (special("a", tarfile.SYMTYPE, "/etc/passwd"), "neither a file nor a folder"),
    "inner link": (special("a", tarfile.SYMTYPE, "b"), "neither a file nor a folder"),
    "hard link": (special("a", tarfile.LNKTYPE, "b"), "neither a file nor a folder"),
    "device": (special("a", tarfile.CHRTYPE), "neither a file nor a folder"),
    "pipe": (special("a", tarfile.FIFOTYPE), "neither a file nor a folder"),
    "twice": (twice, "there twice"),
    "large": (lambda tar: add(tar, "a", bytes(2000)), "past the limit"),
    "many": (many, "past the limit"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_archive_is_refused_and_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, fault = UNSAFE[name]
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    source, root = tmp_path / "source", tmp_path / "root"
    source.mkdir()
    with tarfile.open(source / "101_ObjectCategories.tar.gz", "w:gz") as tar:
        write(tar)
    with pytest.raises(SettingsError, match=fault):
        files.image_folder(root, source)
    assert [path.name for path in root.iterdir() if path.suffix != ".lock"] == []
    assert not (tmp_path / "escaped").exists()
    assert not Path("/escaped").exists()


def test_plain_archive_is_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "plain.tar.gz", "w:gz") as tar:
        special("a", tarfile.DIRTYPE)(tar)
        add(tar, "a/b", b"content")
    unpack_tar(tmp_path / "plain.tar.gz", tmp_path / "out")
    assert (tmp_path / "out/a/b").read_bytes() == b"content"


def test_damaged_archive_is_named(stand_in_archives: Path, tmp_path: Path) -> None:
    archive = stand_in_archives / "101_ObjectCategories.tar.gz"
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(SettingsError, match=r"101_ObjectCategories\.tar\.gz: cannot be unpacked"):
        files.image_folder(tmp_path / "root", stand_in_archives)
    assert not (tmp_path / "root/101_ObjectCategories").exists()
    assert not (tmp_path / "root/.caltech101.partial").exists()
