"""Files that are whole or not there: after a kill, on a full disk, when the writing itself fails."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.files import atomic_write, atomic_write_text

ROOT = Path(__file__).parents[2]


def test_bytes_and_text_are_written_as_they_are(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "bytes") as file:
        file.write(b"a\r\n\x00")
        assert not (tmp_path / "bytes").exists(), "it takes the name only at the end"
    atomic_write_text(tmp_path / "text", "é\n\r\n")
    assert (tmp_path / "bytes").read_bytes() == b"a\r\n\x00"
    assert (tmp_path / "text").read_bytes() == "é\n\r\n".encode()
    assert sorted(os.listdir(tmp_path)) == ["bytes", "text"]


@pytest.mark.parametrize(
    "problem", [ValueError("a mistake"), KeyboardInterrupt(), OSError(errno.EIO, "broken", "another file")]
)
def test_whatever_fails_leaves_the_earlier_file_and_nothing_else(problem: BaseException, tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "file", "earlier")

    def fail() -> None:
        with atomic_write(tmp_path / "file") as file:
            file.write(b"later")
            raise problem

    with pytest.raises(type(problem)) as caught:
        fail()
    assert caught.value is problem, "also an error that names another file"
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "earlier"


@pytest.fixture
def full_disk() -> Iterator[None]:
    """A limit on the size of files stands for the end of the disk: writes fail just so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100_001, 10_000_000], ids=["as it closes", "as it writes"])
def test_a_full_disk_names_the_target_and_leaves_the_earlier_file(size: int, tmp_path: Path, full_disk: None) -> None:
    target = tmp_path / "file"
    atomic_write_text(target, "earlier")
    with pytest.raises(OSError, match=rf"File too large: '{target}'"):
        atomic_write_text(target, "x" * size)
    with pytest.raises(OSError, match=rf"File too large: '{target}'"), atomic_write(target) as file:
        file.write(bytes(size))
    assert os.listdir(tmp_path) == ["file"]
    assert target.read_text() == "earlier"


def test_a_folder_that_isnt_there_names_the_target_too(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        atomic_write_text(tmp_path / "nowhere/file", "text")
    assert caught.value.filename == str(tmp_path / "nowhere/file")


KILLED = """
import os, signal, sys
from pathlib import Path
from configs.files import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"later")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_the_earlier_file_and_a_half_that_the_next_replaces(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic_write_text(target, "earlier")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert target.read_text() == "earlier"
    assert sorted(os.listdir(tmp_path)) == [".file.partial", "file"]
    atomic_write_text(target, "now")
    assert target.read_text() == "now"
    assert os.listdir(tmp_path) == ["file"]


def test_the_file_is_on_disk_before_it_takes_the_name_and_then_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    atomic_write_text(tmp_path / "file", "text")
    assert calls == ["file", "rename", "folder"]
