"""W&B's real command line and agent with real trainings, against a stand-in for its server (wandb_server.py)."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.wandb_server import KEY, Run, WandbServer

ROOT = Path(__file__).parents[2]
SMALL = {
    "data": "shapes", "data.image_size": 67, "data.train_sizes": [67], "data.images_per_class": 10, "data.batch_size": 8,
    "data.val_fraction": 0.25, "viz.probes": ["circle"], "viz.sensitivity": False, "viz.top_maps": 0, "optim.clip": 0,
    "optim.warmup_epochs": 0,
}  # fmt: skip
FOR_EVER = 200  # epochs
pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WandbServer]:
    """It stops a run of so many epochs once it has seen its second, as hyperband would stop a bad one."""
    server = WandbServer(lambda run: len(run.history) > 1 and run.args["trainer.max_epochs"] == {"value": FOR_EVER})
    yield server
    server.close()
    for process in processes_of(tmp_path):  # of a test that failed
        process.kill()


@pytest.fixture
def environment(server: WandbServer, tmp_path: Path) -> dict[str, str]:
    """Of a user who is logged in there, in a home of their own, with this Python first on the path, as in a shell."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    folders = {name: str(tmp_path / name) for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DIR")}
    for folder in folders.values():
        Path(folder).mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return clean | folders | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "PATH": path}


def wandb(environment: dict[str, str], *arguments: str) -> str:
    """Run W&B's command line in the project's folder, as its users do. Returns what it printed."""
    done = subprocess.run(
        ["wandb", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def create(environment: dict[str, str], file: Path) -> str:
    """Create a sweep. Returns what an agent is to be started with."""
    found = re.search(r"wandb agent (\S+)", wandb(environment, "sweep", str(file)))
    assert found
    return found[1]


def small_sweep(folder: Path, **varied: Any) -> Path:
    """sweeps/lr.yaml over other parameters, on the generated data set."""
    content = yaml.safe_load((ROOT / "sweeps/lr.yaml").read_text())
    fixed = {key: {"value": value} for key, value in (SMALL | {"runs": str(folder / "runs")}).items()}
    entries = {key.replace("__", "."): entry if isinstance(entry, list) else [entry] for key, entry in varied.items()}
    content["parameters"] = fixed | {key: {"values": values} for key, values in entries.items()}
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def processes_of(folder: Path) -> list[psutil.Process]:
    """The trainings that write below a folder."""
    return [each for each in psutil.process_iter(["cmdline"]) if f"runs={folder / 'runs'}" in (each.info["cmdline"] or [])]


@pytest.mark.parametrize("file", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_sweep_file_becomes_a_sweep(file: Path, server: WandbServer, environment: dict[str, str]) -> None:
    create(environment, file)
    (sweep,) = server.sweeps.values()
    written = yaml.safe_load(file.read_text())
    assert {key: sweep.config[key] for key in written} == written
    assert not server.unknown


def test_a_sweep_of_four_trainings(server: WandbServer, environment: dict[str, str], tmp_path: Path) -> None:
    rates = [0.0001, 0.0002, 0.0004, 1000.0]
    output = wandb(environment, "agent", create(environment, small_sweep(tmp_path, optim__lr=rates, trainer__max_epochs=2)))
    assert len(server.runs) == 4, output
    assert not server.unknown
    for run, rate in zip(server.runs.values(), rates, strict=True):
        assert run.exit_code == 0, output
        assert run.args["optim.lr"] == {"value": rate}
        assert run.config["optim.lr"] == rate
        assert run.config["viz.probes"] == ["circle"]
        assert "optim" not in run.config, "flat, so that sweeps and single runs share a column"
        assert f"optim.lr={rate}" in run.summary["command"]
        assert run.display_name == f"lr={rate}", "by what varies, of all that the agent passes on"
    *trained, diverged = server.runs.values()
    for run in trained:
        logged_as_promised(run)
        kept = {each.type: each for each in server.artifacts_of(run.name) if each.type != "run_table"}
        assert kept.keys() == {"dataset"}, "no weights where they weren't asked for"
        assert {"train.txt", "val.txt", "test.txt"} <= kept["dataset"].files.keys()
        assert (kept["dataset"].name, kept["dataset"].used_by) == ("shapes-split", [run.name]), (
            "the run's input, not its output"
        )
    assert diverged.summary["diverged"] is True
    assert "batch" in diverged.summary["divergence"]
    assert "Ignoring project" not in output


def logged_as_promised(run: Run) -> None:
    """One row an epoch, with its pictures, under the same names; the summary of the metric is its highest value."""
    *rows, results = run.history
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"results/test_images", "results/by_class_table", "results/confused_table"} <= results.keys()
    for row in rows:
        assert {"train/loss", "val/accuracy", "test/loss", "lr"} <= row.keys()
        assert row["accuracy/val"] == row["val/accuracy"]
        pictures = {key: entry for key, entry in row.items() if isinstance(entry, dict)}
        assert pictures.keys() == {"look/circle-0001", "look/filters_conv1"}
        for picture in pictures.values():
            assert picture["_type"] == "image-file"
            assert len(run.files[picture["path"]]) == picture["size"] > 1000, "the picture has arrived whole"
    best = max(row["val/accuracy"] for row in rows)
    assert run.summary["val/accuracy"] == {"max": best}
    assert run.summary["best/val_accuracy"] == best
    assert run.summary["diverged"] is False
    assert "final/test/accuracy" in run.summary


def test_two_processes_under_an_agent_stopped_crashed_and_cancelled(
    server: WandbServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """Early termination of the first, a crash of the second (its settings are nonsense), the sweep cancelled in the third.

    Both are stopped after their second row: a first one can come before the first checkpoint.
    """
    several = {"trainer.accelerator": "cpu", "trainer.devices": 2, "trainer.strategy": "ddp"}
    epochs = [FOR_EVER, "never", FOR_EVER + 1]
    sweep = create(environment, small_sweep(tmp_path, **several, trainer__max_epochs=epochs))
    log = tmp_path / "agent.txt"
    with log.open("w") as stream:
        agent = subprocess.Popen(["wandb", "agent", sweep], cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: len(server.runs) == 3 and len(list(server.runs.values())[2].history) > 1, agent)
            assert len(processes_of(tmp_path)) == 2
            wandb(environment, "sweep", "--cancel", sweep)
            assert agent.wait(timeout=60) == 0
        finally:
            agent.kill()
    stopped, crashed, cancelled = server.runs.values()
    output = log.read_text()
    assert (stopped.stopped, stopped.exit_code) == (True, 0), output
    assert (cancelled.stopped, cancelled.exit_code) == (True, 0), output
    assert (crashed.stopped, crashed.history) == (False, [])
    assert "trainer.max_epochs" in output
    for run in (stopped, cancelled):
        epochs = [row["epoch"] for row in run.history]
        assert epochs == list(range(1, len(epochs) + 1)), "one run, not one of each process"
        assert run.history[0]["loss/train"] == run.history[0]["train/loss"]
        assert run.config["processes"] == 2
    assert output.count("resume with: python train.py resume=") == 2, output
    assert "Traceback" not in output
    wait_for(lambda: not processes_of(tmp_path))


def wait_for(condition: Any, agent: "subprocess.Popen[bytes] | None" = None, seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        assert agent is None or agent.poll() is None, "the agent has ended"
        time.sleep(0.1)
