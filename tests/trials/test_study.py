"""What happens to a study that several machines share at the moments that real processes seldom hit."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import psutil
import pytest
import yaml
from optuna.trial import TrialState

from configs import SettingsError
from trials import database, study
from trials.processes import output_file
from trials.runner import Runner
from trials.study import Study
from trials.sweep_file import Sweep, read_sweep

pytestmark = pytest.mark.slow


def sweep_of(folder: Path, **others: object) -> Sweep:
    content = {"name": "tried", "method": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}} | others
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(content))
    return read_sweep(file)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'shared.db'}"


@pytest.mark.parametrize("others", [{}, {"method": "random", "run_cap": 2}], ids=["grid", "random-with-a-cap"])
def test_of_two_that_ask_for_the_last_trial_one_gets_it(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch, others: dict[str, object]
) -> None:
    sweep = sweep_of(tmp_path, **others)
    here, there = Study(sweep, tmp_path / "here", storage), Study(sweep, tmp_path / "there", storage)
    first = here.next_trial()
    taken = []

    @contextmanager
    def turn_that_comes_too_late() -> Iterator[None]:
        taken.append(here.next_trial())
        yield

    monkeypatch.setattr(there, "_ask_lock", turn_that_comes_too_late())
    assert there.next_trial() is None
    assert first is not None
    assert [trial.number for trial in taken if trial is not None] == [1]
    assert [trial.state for trial in there.trials] == [TrialState.RUNNING] * 2, "the surplus one doesn't count"


def test_a_grid_whose_creator_died_before_it_was_enqueued_is_completed(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "PATIENCE", 0.3)
    died = optuna.create_study(storage=storage, study_name="tried", direction="maximize")
    died.enqueue_trial({"lr": 0})
    taken_over = Study(sweep_of(tmp_path), tmp_path, storage)
    assert asked_values(taken_over) == [{"lr": 0.1}, {"lr": 0.2}]


def asked_values(study: Study) -> list[dict[str, float]]:
    """Ask for all trials that are left, in order."""
    asked = []
    while (trial := study.next_trial()) is not None:
        asked.append(trial.user_attrs["values"])
    return asked


def test_a_study_from_before_the_enqueued_attribute_is_resumed(tmp_path: Path, storage: str) -> None:
    """What was enqueued is only where Optuna keeps it: of trials that were interrupted, failed, still run or wait."""
    sweep = sweep_of(tmp_path, parameters={"lr": {"values": [0.1, 0.2, 0.3, 0.4]}})
    old = optuna.create_study(storage=storage, study_name="tried", direction="maximize")
    for index in range(4):
        old.enqueue_trial({"lr": index})
    definition = {key: sweep.definition.get(key) for key in ("program", "method", "metric", "parameters", "command")}
    old.set_user_attr("definition", definition)
    interrupted, failed = old.ask(), old.ask()
    interrupted.set_user_attr("folder", str(tmp_path / "trial-000"))
    interrupted.set_user_attr("host", socket.gethostname())
    failed.suggest_categorical("lr", range(4))
    old.tell(failed, state=TrialState.FAIL)
    resumed = Study(sweep, tmp_path, storage)
    assert len(resumed.trials) == 4, "the grid is whole already"
    running = optuna.load_study(storage=storage, study_name="tried").ask()
    own_process = {"folder": str(tmp_path / "trial-002"), "pid": os.getpid(), "born": psutil.Process().create_time()}
    for key, value in (own_process | {"host": socket.gethostname()}).items():
        running.set_user_attr(key, value)
    assert [trial.number for trial in resumed.resume_interrupted(retry_failed=True)] == [2], "its process lives"
    assert asked_values(resumed) == [{"lr": 0.4}, {"lr": 0.1}, {"lr": 0.2}]


@pytest.mark.parametrize(
    "url",
    ["no url", "sqlite:////nowhere/at/all.db", "unheard://host/db", "postgresql+asyncpg://host/db", "mysql://host:port/db"],
)
def test_a_database_that_can_not_be_opened_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(database, "CONNECT_ATTEMPTS", 0)
    with pytest.raises(SettingsError, match="the study's database: ") as caught:
        Study(sweep_of(tmp_path), tmp_path, url)
    assert "\n" not in str(caught.value)


def test_a_trial_that_is_not_marked_yet_is_left_alone_until_its_machine_must_be_dead(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path)
    here, there = Study(sweep, tmp_path / "here", storage), Study(sweep, tmp_path / "there", storage)
    asked = here.next_trial()
    assert asked is not None
    there.resume_interrupted(retry_failed=False)
    assert there.await_unmarked(), "it may begin yet"
    assert [trial.number for trial in there.trials] == [0, 1]
    monkeypatch.setattr(study, "PATIENCE", -1)
    assert there.await_unmarked()
    assert [trial.number for trial in there.trials] == [1, 2], "trial 2 repeats trial 0"
    assert not there.await_unmarked()


def test_it_is_not_known_what_others_did_while_nobody_looked(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the database, which this machine and the other waited for, was gone."""
    sweep = sweep_of(tmp_path)
    here, there = Study(sweep, tmp_path / "here", storage), Study(sweep, tmp_path / "there", storage)
    assert here.next_trial() is not None
    monkeypatch.setattr(study, "PATIENCE", 0.1)
    monkeypatch.setattr(study, "GAP", 0.05)
    for _ in range(3):
        assert there.await_unmarked()
        time.sleep(0.2)
    assert [trial.number for trial in there.trials] == [0, 1]
    monkeypatch.setattr(study, "GAP", 10)
    assert there.await_unmarked()
    assert [trial.number for trial in there.trials] == [1, 2]


def test_of_two_machines_that_repeat_a_trial_one_does(tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "PATIENCE", -1)
    sweep = sweep_of(tmp_path)
    dead, here, there = (Study(sweep, tmp_path / name, storage) for name in ("dead", "here", "there"))
    assert dead.next_trial() is not None
    seen = here.trials
    assert there.await_unmarked()
    monkeypatch.setattr(Study, "trials", seen)
    here.await_unmarked()
    monkeypatch.undo()
    assert here.planned == 2
    assert asked_values(here) == [{"lr": 0.2}, {"lr": 0.1}]
    assert not asked_values(there)


def test_of_two_machines_that_complete_a_grid_one_does(tmp_path: Path, storage: str) -> None:
    resumed = Study(sweep_of(tmp_path), tmp_path, storage)
    for index in range(2):
        resumed.optuna.enqueue_trial({"lr": index}, {"enqueued": {"lr": index}})
    assert resumed.planned == 2
    assert asked_values(resumed) == [{"lr": 0.1}, {"lr": 0.2}]


def test_a_machine_that_dies_with_a_surplus_trial_leaves_nothing_to_repeat(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "PATIENCE", -1)
    here = Study(sweep_of(tmp_path), tmp_path, storage)
    for trial in (here.next_trial(), here.next_trial()):
        assert trial is not None
        trial.set_user_attr("host", "here")
    here.optuna.ask()
    assert here.await_unmarked()
    assert here.planned == 2
    assert not asked_values(here)


def test_killed_while_it_repeats_a_trial_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_of(tmp_path)
    killed = Study(sweep, tmp_path)
    assert killed.next_trial() is not None
    monkeypatch.setattr(Study, "tell", lambda *_, **__: exit())
    with pytest.raises(SystemExit):
        killed.resume_interrupted(retry_failed=False)
    monkeypatch.undo()
    resumed = Study(sweep, tmp_path)
    resumed.resume_interrupted(retry_failed=False)
    assert asked_values(resumed) == [{"lr": 0.2}, {"lr": 0.1}]


def started(study: Study, monkeypatch: pytest.MonkeyPatch, host: str = "one") -> str:
    """Have a host start the next trial, and die. Returns the trial's folder."""
    trial = study.next_trial()
    assert trial is not None
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    folder = study.folder / f"trial-{trial.number:03d}"
    folder.mkdir(parents=True)
    output_file(folder).touch()
    trial.set_user_attr("folder", str(folder))
    trial.set_user_attr("host", host)
    return str(folder)


def test_a_sweep_is_resumed_in_its_folder_on_another_host_of_a_cluster(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path)
    folder = started(Study(sweep, tmp_path / "task-1", storage), monkeypatch)
    monkeypatch.setattr(socket, "gethostname", lambda: "two")
    other = Study(sweep, tmp_path / "task-2", storage)
    other.resume_interrupted(retry_failed=False)
    assert [trial.number for trial in other.trials] == [0, 1], "another task's is left alone"
    again = Study(sweep, tmp_path / "task-1", storage)
    again.resume_interrupted(retry_failed=False)
    assert [trial.user_attrs.get("folder") for trial in again.trials] == [None, folder]
    (tmp_path / "task-1/trial-000.txt").unlink()


def test_an_interrupted_trial_begins_anew_on_another_machine(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, parameters={"lr": {"values": [0.1]}})
    here, there = Study(sweep, tmp_path / "here", storage), Study(sweep, tmp_path / "there", storage)
    folder = started(here, monkeypatch)
    here.resume_interrupted(retry_failed=False)
    trial = there.next_trial()
    assert trial is not None
    assert Runner(here, here.folder).run_folder(trial) == Path(folder)
    assert Runner(there, there.folder).run_folder(trial) == there.folder / "trial-001"
