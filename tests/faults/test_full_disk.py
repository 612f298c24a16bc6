"""A disk of its own that is really full, while a whole training writes to it."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lightning_modules.checkpoints import read_checkpoint
from tests.faults.kill_chain import ROOT, TINY, assert_same, assert_same_record, start, start_or_resume

ARGUMENTS = [*TINY, "logger=none"]
PAGE = 4096  # bytes; a disk in memory gives no less

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a disk"),
]


@contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """A file system in memory of so many bytes at a folder that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(file: Path) -> None:
    """Take all that is free on the file's disk."""
    with file.open("wb") as stream, contextlib.suppress(OSError):
        while True:
            free = os.statvfs(file.parent).f_bavail * PAGE
            os.posix_fallocate(stream.fileno(), os.fstat(stream.fileno()).st_size, max(PAGE, free))
    assert os.statvfs(file.parent).f_bavail == 0


@contextmanager
def training(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A training in a folder, whose first epoch has ended."""
    words = ["none", "0", *ARGUMENTS, f"runs={folder.parent}", f"name={folder.name}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.killed_run", *words],
        cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        while process.poll() is None and not (folder / "checkpoints/last.ckpt").exists():
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("undisturbed")
    status, output = start(*ARGUMENTS, f"runs={runs}", "name=run")
    assert status == 0, output
    return runs / "run"


def test_a_full_disk_is_one_line_and_after_clearing_up_the_run_is_the_same(undisturbed: Path, tmp_path: Path) -> None:
    with disk(tmp_path, 200_000_000):
        with training(tmp_path / "run") as process:
            fill(tmp_path / "filler")
            output, _ = process.communicate(timeout=300)
        assert process.returncode == 1, output
        assert "Traceback" not in output
        assert f"No space left on device: '{tmp_path / 'run'}" in output
        assert f"resume={tmp_path / 'run'}" in output.splitlines()[-1]
        (tmp_path / "filler").unlink()
        status, output = start_or_resume(tmp_path / "run", ARGUMENTS)
        assert status == 0, output
        assert_same_record(undisturbed, tmp_path / "run")


def test_a_full_disk_for_pictures_alone_is_a_warning_and_the_training_ends(undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with ExitStack() as until_the_end, training(run) as process:
        until_the_end.enter_context(disk(run / "pictures", PAGE))
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        assert "Traceback" not in output
        assert output.count("No space left on device") == output.count("are missing from epoch") > 0
    assert (run / "predictions.csv").read_bytes() == (undisturbed / "predictions.csv").read_bytes()
    weights, expected = (read_checkpoint(each / "checkpoints/last.ckpt")["state_dict"] for each in (run, undisturbed))
    assert_same(weights, expected, "weights")
