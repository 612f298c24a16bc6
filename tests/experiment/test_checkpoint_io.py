"""Checkpoints are whole or not there: after a kill, on a full disk, after Ctrl-C."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

from configs import VizSettings
from datamodules.datamodule import ImageDataModule
from experiment.checkpoint_io import AtomicCheckpointIO
from experiment.csv_recorder import CSVRecorder
from experiment.visualization import build_probes, visualization_callbacks
from lightning_modules.checkpoints import read_checkpoint

WRITER = """
    import os, signal, sys, torch
    from experiment.checkpoint_io import AtomicCheckpointIO
    target, moment = sys.argv[1:]
    save = torch.save
    def save_half_and_die(checkpoint, file):
        save(checkpoint, file)
        file.flush()
        if moment == "before the end":
            os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    AtomicCheckpointIO().save_checkpoint({"epoch": 1, "weights": torch.ones(1000)}, target)
    torch.save = save_half_and_die
    AtomicCheckpointIO().save_checkpoint({"epoch": 2, "weights": torch.zeros(1000)}, target)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the end", "at the end"])
def test_a_kill_while_saving_leaves_the_earlier_checkpoint_whole(moment: str, tmp_path: Path) -> None:
    target = tmp_path / "last.ckpt"
    elsewhere = "/dev/shm" if os.path.isdir("/dev/shm") else str(tmp_path)  # another file system, as on many clusters
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(target), moment],
        env=os.environ | {"TMPDIR": elsewhere},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert read_checkpoint(target)["epoch"] == 1
    AtomicCheckpointIO().save_checkpoint({"epoch": 3}, target)
    assert os.listdir(tmp_path) == ["last.ckpt"], "the next save replaces the half-written file"
    assert read_checkpoint(target) == {"epoch": 3}


def test_a_failed_save_raises_and_keeps_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, target)

    def full(checkpoint: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, target)
    assert read_checkpoint(target) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_disk_that_is_full_says_so_and_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    """A limit on the size of files stands for the end of the disk: writes fail in the middle of torch's writer just so."""
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, target)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OSError, match=rf"File too large: '{target}'"):
            AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(1_000_000)}, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_checkpoint(target) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_ctrl_c_in_the_middle_of_saving_is_still_ctrl_c_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    partial = tmp_path / ".last.ckpt.partial"

    def press_ctrl_c() -> None:
        while not (partial.exists() and partial.stat().st_size > 1_000_000):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(3)}, tmp_path / "last.ckpt")
        finger = threading.Thread(target=press_ctrl_c, daemon=True)
        finger.start()
        with pytest.raises(KeyboardInterrupt):
            AtomicCheckpointIO().save_checkpoint({str(n): torch.zeros(1_000_000) for n in range(100)}, tmp_path / "last.ckpt")
        finger.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert torch.equal(read_checkpoint(tmp_path / "last.ckpt")["weights"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_loading_process_killed_in_the_middle_of_saving_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch does it: a signal's handler raises inside its writer, which then fails once more as it closes its file."""

    def save(checkpoint: object, file: object) -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed.")
        finally:
            raise RuntimeError("unexpected pos 384278464 vs 384278352")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RuntimeError, match=r"^DataLoader worker"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, tmp_path / "last.ckpt")
    assert os.listdir(tmp_path) == []


def test_states_of_callbacks_that_were_renamed_are_found(tmp_path: Path, shapes: ImageDataModule) -> None:
    states = {"RunRecord": 1, "LogNumbers": 2, "strongest": 3, "denet": 4}
    AtomicCheckpointIO().save_checkpoint({"epoch": 1, "callbacks": states}, tmp_path / "last.ckpt")
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
    assert loaded == {
        "epoch": 1,
        "callbacks": {"CSVRecorder": 1, "ProjectionMetricsLogger": 2, "top_activations": 3, "denet": 4},
    }
    pictures = visualization_callbacks(VizSettings(), shapes, build_probes(shapes, []), tmp_path, 3)
    assert set(loaded["callbacks"]) <= {each.state_key for each in (CSVRecorder(tmp_path, "t"), *pictures)}
