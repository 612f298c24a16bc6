"""A database that is locked or gone while a sweep runs is waited for, and nothing is lost."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import optuna
import psutil
import pytest
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

import sweep
from tests.postgres_server import PASSWORD, PostgresServer
from tests.trials.sweeps import starts, table, wait_for, written
from trials import database, study
from trials.study import Study
from trials.sweep_file import read_sweep

pytestmark = pytest.mark.slow


class Said:
    """What was printed, which can be waited for while it goes on."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture, self.out, self.err = capture, "", ""

    def read(self) -> "Said":
        captured = self.capture.readouterr()
        self.out, self.err = self.out + captured.out, self.err + captured.err
        return self

    def wait_until_told(self, times: int) -> None:
        wait_for(lambda: self.read().out.count("waiting for it, at most") >= times, 240)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


def address(server: PostgresServer) -> str:
    return f"postgresql+psycopg://someone:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/postgres"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "NEWS_SECONDS", 2.0)
    monkeypatch.setattr(database, "RETRY_SECONDS", 0.2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep of two trials that take a few seconds each."""
    return written(tmp_path, {"lr": [0.1, 0.2], "epochs": {"value": 6}, "pace": {"value": 0.5}})


class Meanwhile(threading.Thread):
    """Does something as soon as the first trial of a sweep has recorded an epoch."""

    def __init__(self, folder: Path, act: Callable[[], object]) -> None:
        super().__init__()
        self.folder, self.act = folder, act
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            wait_for((self.folder / "tried/trial-000/metrics.csv").exists)
            self.act()
        except BaseException as error:
            self.error = error

    def check(self) -> None:
        self.join()
        if self.error:
            raise self.error


def all_is_well(folder: Path) -> None:
    assert [row["ended"] for row in table(folder)] == ["finished"] * 2
    assert [float(row["best"]) for row in table(folder)] == pytest.approx([0.1, 0.2])
    assert starts(folder) == {"trial-000": ["0"], "trial-001": ["0"]}, "trainings went on"


def test_locked_by_another_connection(tmp_path: Path, file: Path, said: Said) -> None:
    def lock() -> None:
        other = sqlite3.connect(tmp_path / "tried/study.db", timeout=60, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        said.wait_until_told(1)
        other.execute("ROLLBACK")
        other.close()

    meanwhile = Meanwhile(tmp_path, lock)
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    meanwhile.check()
    all_is_well(tmp_path)
    said.read()
    assert "study.db: database is locked; waiting for it, at most" in said.out
    assert "The study's database is back after" in said.out
    assert said.err == ""


@pytest.mark.parametrize("copied", [False, True], ids=["moved-back", "copied-back"])
def test_moved_away_and_back(tmp_path: Path, file: Path, said: Said, copied: bool) -> None:
    there, away = tmp_path / "tried/study.db", tmp_path / "away.db"

    def move() -> None:
        there.rename(away)
        said.wait_until_told(2)
        assert not there.exists(), "no other database is made in its place"
        shutil.copy(away, there) if copied else away.rename(there)

    meanwhile = Meanwhile(tmp_path, move)
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    meanwhile.check()
    all_is_well(tmp_path)
    said.read()
    assert said.err == ""


def test_gone_for_longer_it_ends_the_sweep_but_no_training(tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, {"lr": [0.1], "epochs": {"value": 6}, "pace": {"value": 4}})
    monkeypatch.setattr(database, "WAIT_SECONDS", 1.0)
    there, away = tmp_path / "tried/study.db", tmp_path / "away.db"
    meanwhile = Meanwhile(tmp_path, lambda: shutil.move(there, away))
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 1
    meanwhile.check()
    (line,) = said.read().err.splitlines()
    assert line.startswith(f"sweep.py: the study's database, {there}: ")
    assert line.endswith("; waited 1 s for it. Trainings go on; the same command resumes the sweep")
    shutil.move(away, there)
    (running,) = [each for each in Study(read_sweep(file), there.parent).trials if each.state == TrialState.RUNNING]
    assert psutil.pid_exists(running.user_attrs["pid"])
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    assert [row["ended"] for row in table(tmp_path)] == ["finished"]
    assert starts(tmp_path) == {"trial-000": ["0"]}, "the training went on"
    assert said.read().err.splitlines() == [line]


def test_a_server_that_stops_and_starts_again(tmp_path: Path, file: Path, said: Said, server: PostgresServer) -> None:
    def restart() -> None:
        server.stop()
        said.wait_until_told(2)
        server.start()

    meanwhile = Meanwhile(tmp_path, restart)
    assert sweep.main([str(file), "--runs", str(tmp_path), "--storage", address(server)]) == 0
    meanwhile.check()
    all_is_well(tmp_path)
    said.read()
    assert "The study's database, postgresql+psycopg://127.0.0.1/postgres: " in said.out
    assert "is back after" in said.out
    assert said.err == ""
    texts = [said.out, *(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())]
    assert len(texts) > 10
    assert not any(secret in text for text in texts for secret in (PASSWORD, quote(PASSWORD, safe="")))


def test_a_server_that_stops_while_the_trials_are_read(tmp_path: Path, file: Path, said: Said, server: PostgresServer) -> None:
    study = Study(read_sweep(file), tmp_path, address(server))
    restarted: list[str] = []

    def restart(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith("SELECT trials.") and not restarted:
            restarted.append(statement)
            server.stop()
            server.start()

    event.listen(Engine, "before_cursor_execute", restart)
    try:
        assert [trial.state for trial in study.trials] == [TrialState.WAITING] * 2
    finally:
        event.remove(Engine, "before_cursor_execute", restart)
    assert restarted
    out = said.read().out
    assert "server closed the connection" in out or "terminating connection" in out
    assert "is back after" in out


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:s3cret@127.0.0.1:1/none",
        "postgresql+psycopg://me@127.0.0.1:1/none?password=s3cret",
        "postgresql+psycopg://me:1/s3cret@127.0.0.1/none",
        "postgresql+psycopg://me@127.0.0.1:s3cret/none",
        "unheard://me:s3cret@host/none",
        "me:s3cret",
    ],
)
def test_passwords_are_not_shown(tmp_path: Path, file: Path, said: Said, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(database, "CONNECT_ATTEMPTS", 0)
    assert sweep.main([str(file), "--runs", str(tmp_path), "--storage", url]) == 2
    said.read()
    assert len(said.err.splitlines()) == 1
    assert "s3cret" not in said.out + said.err


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "50% {of} what? #1"
    folder.mkdir()
    assert len(Study(read_sweep(written(tmp_path, {"lr": [0.1, 0.2]})), folder).trials) == 2
    assert (folder / "study.db").stat().st_size > 0


@pytest.fixture
def lost_answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[TrialState], None]:
    """Of the next change to this state the database's answer is lost, as where its server ends just then."""

    def lose(wanted: TrialState) -> None:
        change = optuna.storages.RDBStorage.set_trial_state_values
        lost: list[TrialState] = []

        def changed(
            storage: optuna.storages.RDBStorage, trial_id: int, state: TrialState, values: list[float] | None = None
        ) -> bool:
            answer = change(storage, trial_id, state, values)
            if state == wanted and not lost:
                lost.append(state)
                problem = OperationalError("UPDATE", {}, Exception("server closed the connection unexpectedly"))
                raise optuna.exceptions.StorageInternalError from problem
            return answer

        monkeypatch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", changed)

    return lose


def test_a_trial_whose_end_was_not_confirmed_has_ended(
    tmp_path: Path, file: Path, lost_answer: Callable[[TrialState], None]
) -> None:
    study = Study(read_sweep(file), tmp_path)
    trial = study.next_trial()
    assert trial is not None
    lost_answer(TrialState.COMPLETE)
    study.tell(trial, 0.5)
    assert [(each.state, each.value) for each in study.finished()] == [(TrialState.COMPLETE, 0.5)]


def test_a_trial_that_was_given_out_without_an_answer_is_given_out_again(
    tmp_path: Path, file: Path, lost_answer: Callable[[TrialState], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Study(read_sweep(file), tmp_path, f"sqlite:///{tmp_path / 'shared.db'}")
    lost_answer(TrialState.RUNNING)
    first = shared.next_trial()
    assert first is not None
    first.set_user_attr("host", "here")
    assert first.user_attrs["values"]["lr"] == 0.2, "the first trial's answer was lost"
    assert shared.await_unmarked()
    assert shared.next_trial() is None
    monkeypatch.setattr(study, "PATIENCE", -1)
    assert shared.await_unmarked()
    again = shared.next_trial()
    assert again is not None
    assert again.user_attrs["values"]["lr"] == 0.1


def test_what_waiting_does_not_mend_is_one_line_at_once(tmp_path: Path, file: Path, said: Said) -> None:
    (tmp_path / "tried").mkdir()
    Study(read_sweep(file), tmp_path / "tried")

    def damage() -> None:
        with (tmp_path / "tried/study.db").open("r+b") as stream:  # an empty file would be a database without tables
            stream.write(b"damaged" * 5000)

    meanwhile = Meanwhile(tmp_path, damage)
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 1
    meanwhile.check()
    said.read()
    assert "waiting for it" not in said.out
    (line,) = said.err.splitlines()
    # SQLite's words depend on what the connection has read of the file before.
    assert "file is not a database" in line or "database disk image is malformed" in line
