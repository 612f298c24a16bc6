"""Checkpoints are whole or not there, run no code when loaded, and give the network back."""

import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from configs import ModelSettings, Settings, SettingsError
from experiment.checkpoint_io import AtomicCheckpointIO
from lightning_modules.checkpoints import load_network, read_checkpoint
from lightning_modules.networks.registry import build_network

WRITER = """
    import os, signal, sys, torch
    from lightning_modules.networks.registry import checkpoints
    target, moment = sys.argv[1:]
    save = torch.save
    def save_half_and_die(checkpoint, file):
        save(checkpoint, file)
        file.flush()
        if moment == "before the end":
            os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    checkpoints.AtomicCheckpointIO().save_checkpoint({"epoch": 1, "weights": torch.ones(1000)}, target)
    torch.save = save_half_and_die
    checkpoints.AtomicCheckpointIO().save_checkpoint({"epoch": 2, "weights": torch.zeros(1000)}, target)
"""


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
    assert os.listdir(tmp_path) == ["last.ckpt"], "the half-written file is taken over by the next save"
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


def test_the_file_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, original=original: (calls.append(name), original(*args))[1])
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, tmp_path / "last.ckpt")
    assert calls == ["fsync", "replace", "fsync"]


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("code-was-run",)


def test_a_checkpoint_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
    torch.save({"state_dict": Payload()}, tmp_path / "evil.ckpt", pickle_module=pickle)
    for load in (read_checkpoint, load_network, lambda path: AtomicCheckpointIO().load_checkpoint(path, weights_only=False)):
        with pytest.raises(SettingsError, match="not a readable checkpoint"):
            load(tmp_path / "evil.ckpt")
    assert not (tmp_path / "code-was-run").exists()


def test_a_missing_or_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "half.ckpt").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(SettingsError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "half.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(SettingsError, match="holds no network of this project"):
        load_network(tmp_path / "other.ckpt")


def test_the_network_comes_back_as_it_was(tmp_path: Path) -> None:
    model = ModelSettings(name="zfnet", norm="batch")
    network = build_network(model, 3)
    settings = asdict(Settings(model=model))
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"settings": settings, "class_names": ["a", "b", "c"], "state_dict": weights}, tmp_path / "best.ckpt")
    loaded, class_names = load_network(tmp_path / "best.ckpt")
    assert class_names == ["a", "b", "c"]
    assert not loaded.training
    images = torch.randn(1, 3, 99, 99)
    with torch.no_grad():
        assert torch.equal(loaded(images), network.eval()(images))


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
