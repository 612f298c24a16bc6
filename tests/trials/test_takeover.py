"""A machine that never comes back: another takes its trial over, from its last epoch where the folder is there to see."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from filelock import FileLock
from optuna.trial import Trial, TrialState

import sweep
from tests.postgres_server import PASSWORD, PostgresServer
from tests.trials.sweeps import starts, table, wait_for, written
from trials import database
from trials.processes import find_process, output_file
from trials.runner import Runner
from trials.study import Study
from trials.sweep_file import read_sweep

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'shared.db'}"


def study_in(tmp_path: Path, machine: str, storage: str) -> Study:
    return Study(read_sweep(written(tmp_path, {"lr": [0.1, 0.2]})), tmp_path / machine / "tried", storage)


def silent_for_an_hour(tmp_path: Path) -> None:
    """Have all signs of life so far be old."""
    with sqlite3.connect(tmp_path / "shared.db") as connection:
        connection.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")


def started(study: Study) -> Trial:
    """The next trial, as a runner starts it, interrupted after an epoch."""
    trial = study.next_trial()
    assert trial is not None
    study.record_heartbeat(trial)
    folder = study.folder / f"trial-{trial.number:03d}"
    trial.set_user_attr("folder", str(folder))
    trial.set_user_attr("host", "gone")
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").touch()
    output_file(folder).touch()
    return trial


def values_left(study: Study) -> list[float]:
    asked = []
    while (trial := study.next_trial()) is not None:
        asked.append(trial.user_attrs["values"]["lr"])
    return asked


def test_a_trial_without_a_sign_of_life_is_given_out_again_once(tmp_path: Path, storage: str) -> None:
    gone, other, third = (study_in(tmp_path, name, storage) for name in ("gone", "other", "third"))
    started(gone)
    other.take_over_abandoned()
    assert [trial.state for trial in other.trials] == [TrialState.RUNNING, TrialState.WAITING], "it lives"
    silent_for_an_hour(tmp_path)
    other.take_over_abandoned()
    third.take_over_abandoned()
    assert values_left(other) == [0.2, 0.1]


def test_killed_while_it_takes_a_trial_over_nothing_is_lost(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, killed, third = (study_in(tmp_path, name, storage) for name in ("gone", "killed", "third"))
    started(gone)
    silent_for_an_hour(tmp_path)
    monkeypatch.setattr(killed, "_repeat", lambda *_: sys.exit())
    with pytest.raises(SystemExit):
        killed.take_over_abandoned()
    third.take_over_abandoned()
    assert values_left(third) == [0.2, 0.1]


def test_what_failed_for_a_reason_is_not_taken_over(tmp_path: Path, storage: str) -> None:
    gone, other = (study_in(tmp_path, name, storage) for name in ("gone", "other"))
    trial = started(gone)
    trial.set_user_attr("failed", "out of luck")
    gone.tell(trial, state=TrialState.FAIL)
    other.take_over_abandoned()
    assert values_left(other) == [0.2]


@pytest.mark.parametrize("case", ["seen", "still written to", "another study's", "not seen"])
def test_a_run_is_resumed_where_its_folder_is_seen(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    gone, other = (study_in(tmp_path, name, storage) for name in ("gone", "other"))
    before = Path(started(gone).user_attrs["folder"])
    silent_for_an_hour(tmp_path)
    if case == "another study's":
        (before.parent / "study.json").write_text('{"name": "tried", "id": "another"}')
    elif case == "not seen":
        shutil.rmtree(before.parent)
    commands: list[list[str]] = []

    def start(command: list[str], *_: object) -> "subprocess.Popen[bytes]":
        commands.append(command)
        return subprocess.Popen("true")

    monkeypatch.setattr("trials.runner.start_process", start)
    runner = Runner(other, other.folder, jobs=2)
    runner.study.take_over_abandoned()
    lock = FileLock(before / ".lock")
    if case == "still written to":
        lock.acquire()
    assert runner._start()
    assert runner._start()
    after = other.folder / "trial-002"
    assert (commands[1][-1] == f"resume={after}") is (case == "seen")
    assert (after / "checkpoints/last.ckpt").exists() is (case == "seen")
    assert before.exists() is (case in ("still written to", "another study's"))


def worker(tmp_path: Path, machine: str, storage: str) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "sweep.py",
        str(tmp_path / "sweep.yaml"),
        "--runs",
        str(tmp_path / machine),
        "--storage",
        storage,
    ]
    with (tmp_path / f"{machine}.txt").open("ab") as output:
        return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)


def its_training(tmp_path: Path, storage: str) -> psutil.Process:
    study = Study(read_sweep(tmp_path / "sweep.yaml"), tmp_path / "gone/tried", storage)
    (running,) = [trial for trial in study.trials if trial.state == TrialState.RUNNING]
    assert running.user_attrs["host"] == socket.gethostname()
    process = find_process(running)
    assert process is not None
    return process


def begin_and_kill(tmp_path: Path, storage: str) -> psutil.Process:
    """A worker that is killed when its first trial has an epoch behind it. Returns its training."""
    written(tmp_path, {"lr": [0.1, 0.2], "epochs": {"value": 8}, "pace": {"value": 1}})
    gone = worker(tmp_path, "gone", storage)
    wait_for((tmp_path / "gone/tried/trial-000/checkpoints/last.ckpt").exists)
    gone.kill()
    gone.wait()
    return its_training(tmp_path, storage)


def test_a_machine_that_is_gone(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.kill(begin_and_kill(tmp_path, storage).pid, signal.SIGKILL)
    arguments = [str(tmp_path / "sweep.yaml"), "--runs", str(tmp_path / "other"), "--storage", storage]
    assert sweep.main(arguments) == 0
    assert [row["ended"] for row in table(tmp_path / "other")] == ["running", "finished"]
    assert f"Still run elsewhere: trial 0 on {socket.gethostname()}. Of a machine" in capsys.readouterr().out
    silent_for_an_hour(tmp_path)
    assert sweep.main(arguments) == 0
    assert [(row["lr"], row["ended"]) for row in table(tmp_path / "other")] == [("0.2", "finished"), ("0.1", "finished")]
    (first, *others) = starts(tmp_path / "other")["trial-002"]
    assert first == "0"
    assert len(others) == 1, "resumed from its last epoch, once"
    assert int(others[0]) >= 1
    assert "elsewhere" not in capsys.readouterr().out


def test_a_machine_that_is_back_ends_what_another_has_taken_over(tmp_path: Path, storage: str) -> None:
    training = begin_and_kill(tmp_path, storage)
    silent_for_an_hour(tmp_path)
    other = Study(read_sweep(tmp_path / "sweep.yaml"), tmp_path / "other/tried", storage)
    other.take_over_abandoned()
    back = Study(read_sweep(tmp_path / "sweep.yaml"), tmp_path / "gone/tried", storage)
    assert back.resume_interrupted(retry_failed=False) == []
    assert not training.is_running() or training.status() == psutil.STATUS_ZOMBIE


def test_a_machine_that_was_only_slow_gives_its_trial_up(tmp_path: Path, storage: str) -> None:
    written(tmp_path, {"lr": [0.1], "epochs": {"value": 30}, "pace": {"value": 1}})
    slow = worker(tmp_path, "gone", storage)
    wait_for((tmp_path / "gone/tried/trial-000/metrics.csv").exists)
    training = its_training(tmp_path, storage)
    silent_for_an_hour(tmp_path)
    other = Study(read_sweep(tmp_path / "sweep.yaml"), tmp_path / "other/tried", storage)
    other.take_over_abandoned()
    assert other.next_trial() is not None
    wait_for(lambda: not training.is_running() or training.status() == psutil.STATUS_ZOMBIE)
    said = "trial 0: failed: its machine gave no sign of life, another takes it over"
    wait_for(lambda: said in (tmp_path / "gone.txt").read_text())
    slow.terminate()
    slow.wait()
    output = (tmp_path / "gone.txt").read_text()
    assert "Traceback" not in output
    assert "Warning" not in output


def test_a_database_server_knows_who_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own clock, whose times have a zone, where SQLite's have none."""
    monkeypatch.setattr(database, "GRACE_SECONDS", 3)
    server = PostgresServer()
    try:
        storage = f"postgresql+psycopg://someone:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/postgres"
        gone, other = (study_in(tmp_path, name, storage) for name in ("gone", "other"))
        trial = started(gone)
        gone.record_heartbeat(trial)
        other.take_over_abandoned()
        assert other.trials[0].state == TrialState.RUNNING
        time.sleep(5)
        other.take_over_abandoned()
        assert values_left(other) == [0.2, 0.1]
    finally:
        server.close()


def test_signs_of_life_are_given(tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a trial that runs for longer than a machine may be silent."""
    monkeypatch.setattr(database, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(database, "GRACE_SECONDS", 4)
    file = written(tmp_path, {"lr": [0.1], "epochs": {"value": 8}, "pace": {"value": 1}})
    assert sweep.main([str(file), "--runs", str(tmp_path / "one"), "--storage", storage]) == 0
    assert starts(tmp_path / "one") == {"trial-000": ["0"]}
    assert [row["ended"] for row in table(tmp_path / "one")] == ["finished"]
