"""``python train.py trainer.devices=2 trainer.strategy=ddp`` as users start it: the same run, one end for both processes."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from experiment.run_folder import read_rows
from tests.experiment.test_train import SMALL, run, start, wait_for

# SGD, since AdamW divides rounding by rounding where gradients vanish: its float32 runs part ways.
ALIKE = [
    *SMALL, "trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.precision=32-true", "model.dropout=0", "data.cutmix=0",
    "viz.top_maps=0", "viz.sensitivity=false", "optim.name=sgd", "optim.lr=0.001", "optim.filter_rate=0.001",
]  # fmt: skip
TWO = ["trainer.devices=2", "trainer.strategy=ddp"]
pytestmark = pytest.mark.slow


def test_the_run_is_that_of_one_process(tmp_path: Path) -> None:
    for name, devices in (("one", ["trainer.devices=1"]), ("two", TWO)):
        status, output = run(*ALIKE, *devices, f"runs={tmp_path}", f"name={name}")
        assert status == 0, output
    assert "2 processes, each with 4 of a step's 8 images" in output
    assert output.count("epoch 2/2") == 1
    assert output.count("Everything is in") == 1
    assert "Warning" not in output
    assert sorted(os.listdir(tmp_path)) == ["one", "two"], "one folder for both processes"
    one, two = (read_rows(tmp_path / name / "metrics.csv") for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for alone, shared in zip(one, two, strict=True):
        for name in ("train/loss", "val/loss", "test/loss"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-4)
        for name in ("val/accuracy", "test/accuracy", "test/mean_per_class"):
            assert shared[name] == alone[name]
    ends = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two")]
    assert [end["processes"] for end in ends] == [1, 2]
    assert {name: ends[0][name] for name in ends[0] if name.startswith("final/test") and "loss" not in name} == {
        name: ends[1][name] for name in ends[1] if name.startswith("final/test") and "loss" not in name
    }
    pictures = [{file.relative_to(tmp_path / name) for file in (tmp_path / name).rglob("epoch-*")} for name in ("one", "two")]
    assert pictures[0] == pictures[1]


def test_both_stop_when_the_training_diverges(tmp_path: Path) -> None:
    wild = ("optim.lr=1000", "optim.clip=0", "optim.warmup_epochs=0")
    status, output = run(*ALIKE, *TWO, *wild, f"runs={tmp_path}", "name=run")
    assert status == 1, output
    assert output.count("Stopped: the training diverged, loss") == 1
    assert "Traceback" not in output
    assert json.loads((tmp_path / "run/summary.json").read_text())["diverged"] is True


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_ends_them_cleanly(sign: signal.Signals, tmp_path: Path) -> None:
    """As a terminal sends Ctrl-C, and many a scheduler SIGTERM."""
    process = start(*ALIKE, *TWO, "trainer.max_epochs=200", f"runs={tmp_path}", "name=run")
    wait_for(process, tmp_path / "run/checkpoints/last.ckpt")
    both = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(both) >= 2
    os.killpg(process.pid, sign)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert output.count(f"resume with: python train.py resume={tmp_path / 'run'}") == 1
    assert "Traceback" not in output
    assert not psutil.wait_procs(both, timeout=10)[1]
