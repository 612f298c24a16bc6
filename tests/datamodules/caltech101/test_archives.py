"""Unsafe archives are refused with nothing left outside the partial folder."""

import gzip
import multiprocessing
import os
import re
import shutil
import signal
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import SettingsError
from datamodules.caltech101 import archives, files
from datamodules.caltech101.archives import extract_from_zip, unpack_tar
from tests.datamodules.stand_in import add, trust


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
    "lines in a name": (lambda tar: add(tar, "../a\nb", b"x"), "points outside"),
    "a long name": (lambda tar: add(tar, "../" + "x" * 10_000, b"x"), "points outside"),
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
    trust(monkeypatch, source / "101_ObjectCategories.tar.gz")
    with pytest.raises(SettingsError, match=fault) as caught:
        files.image_folder(root, source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert [path.name for path in root.iterdir() if path.suffix != ".lock"] == []
    assert not (tmp_path / "escaped").exists()
    assert not Path("/escaped").exists()


def test_plain_archive_is_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "plain.tar.gz", "w:gz") as tar:
        special("a", tarfile.DIRTYPE)(tar)
        add(tar, "a/b", b"content")
    unpack_tar(tmp_path / "plain.tar.gz", tmp_path / "out")
    assert (tmp_path / "out/a/b").read_bytes() == b"content"


def test_damaged_archive_is_named(stand_in_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is known is not damaged; should it be all the same, that is one line too."""
    archive = stand_in_archives / "101_ObjectCategories.tar.gz"
    archive.write_bytes(archive.read_bytes()[:3000])
    trust(monkeypatch, archive)
    with pytest.raises(SettingsError, match=r"101_ObjectCategories\.tar\.gz: cannot be unpacked"):
        files.image_folder(tmp_path / "root", stand_in_archives)
    assert not (tmp_path / "root/101_ObjectCategories").exists()
    assert not (tmp_path / "root/.caltech101.partial").exists()


@pytest.mark.parametrize("place", ["101_ObjectCategories.tar.gz", "Annotations.tar"])
def test_only_published_archives_are_opened(place: str, stand_in_archives: Path, tmp_path: Path) -> None:
    with (stand_in_archives / place).open("ab") as file:
        file.write(b"x")
    with pytest.raises(SettingsError, match=rf"{re.escape(place)}: not opened, as it is none of the published archives"):
        files.image_folder(tmp_path / "root", stand_in_archives)
    assert [path.name for path in (tmp_path / "root").iterdir() if path.suffix != ".lock"] in ([], ["Annotations"])


def test_only_the_published_zip_is_opened(stand_in_zip: Path, tmp_path: Path) -> None:
    with stand_in_zip.open("ab") as file:
        file.write(b"x")
    with pytest.raises(SettingsError, match="not opened"):
        files.image_folder(tmp_path / "root", stand_in_zip)


def test_an_archive_that_is_far_too_large_is_not_even_read(stand_in_archives: Path, tmp_path: Path) -> None:
    os.truncate(stand_in_archives / "101_ObjectCategories.tar.gz", 1 << 40)  # a sparse file
    began = time.monotonic()
    with pytest.raises(SettingsError, match="1,099,511,627,776 bytes"):
        files.image_folder(tmp_path / "root", stand_in_archives)
    assert time.monotonic() - began < 20


def header(kind: bytes, size: int) -> bytes:
    """Of a member whose facts take so many bytes."""
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


LARGE_HEADERS = {"PAX": (tarfile.XHDTYPE, 3_000_000_000), "name": (tarfile.GNUTYPE_LONGNAME, 2_600_000_000),
                 "link": (tarfile.GNUTYPE_LONGLINK, 2_600_000_000), "global": (tarfile.XGLTYPE, 3_000_000_000)}  # fmt: skip


@pytest.mark.parametrize("kind", LARGE_HEADERS)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_of_gigabytes_is_refused_at_once(compressed: bool, kind: str, tmp_path: Path) -> None:
    archive, (flag, size) = tmp_path / "x.tar", LARGE_HEADERS[kind]
    with gzip.open(archive, "wb", compresslevel=1) if compressed else archive.open("wb") as file:
        file.write(header(flag, size))
        file.write(bytes(8 << 20))
    if not compressed:
        os.truncate(archive, 512 + size)  # a sparse file: all of it is there
    began = time.monotonic()
    with pytest.raises(SettingsError, match=rf"cannot be unpacked into .* \(a header of {size:,} bytes\)") as caught:
        unpack_tar(archive, tmp_path / "out/partial")
    assert time.monotonic() - began < 20
    assert "\n" not in str(caught.value)


def test_headers_upon_headers_are_one_line(tmp_path: Path) -> None:
    """Each is read by a call within the call for the one before."""
    fact = b"11 path=xyz\n".ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes((header(tarfile.XHDTYPE, 11) + fact) * 5000)
    with pytest.raises(SettingsError, match="cannot be unpacked"):
        unpack_tar(tmp_path / "x.tar", tmp_path / "out/partial")


def test_an_encrypted_zip_is_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr("a", b"content")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[6] |= 1  # the flag in the file's own header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the table at the end
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(SettingsError, match=r"cannot be unpacked into .*encrypted"):
        extract_from_zip(tmp_path / "x.zip", {"a"}, tmp_path)


@pytest.mark.parametrize("passage", range(1, 4))
def test_what_a_killed_process_left_is_gone_after_the_next_start(
    passage: int, stand_in_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the annotations are moved, before the images are, and when all is done but the cleaning."""
    root = tmp_path / "root"

    def die(*arguments: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def unpack() -> None:
        calls = 0

        def replace(source: Path, target: Path) -> None:
            nonlocal calls
            calls += 1
            if calls == passage:
                die()
            source.rename(target)

        monkeypatch.setattr(os, "replace", replace)
        if passage == 3:
            (root / files.PARTIAL).mkdir(parents=True)  # so that the first cleaning passes, and the last one kills
            rmtree = shutil.rmtree
            cleanings: list[Path] = []

            def clean(folder: Path, ignore_errors: bool = False) -> None:
                if cleanings:
                    die()
                cleanings.append(folder)
                rmtree(folder, ignore_errors=ignore_errors)

            monkeypatch.setattr(shutil, "rmtree", clean)
        files.image_folder(root, stand_in_archives)

    process = multiprocessing.get_context("fork").Process(target=unpack)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert (root / files.PARTIAL).is_dir(), "it left nothing that could be found"
    files.image_folder(root, stand_in_archives)
    assert sorted(path.name for path in root.iterdir() if path.suffix != ".lock") == ["101_ObjectCategories", "Annotations"]
