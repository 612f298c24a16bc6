"""What W&B is told of a run when it begins, and how long a run waits for it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from configs import LoggerSettings, SettingsError
from experiment import loggers, wandb_mirror
from experiment.dashboard import Dashboard
from experiment.wandb_mirror import WandbMirror


@pytest.fixture
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """On which no start is in time, until this is set."""
    monkeypatch.setattr(wandb_mirror, "START_SECONDS", 0.01)
    monkeypatch.setattr(wandb_mirror, "ONLINE_SECONDS", 0.01)
    return threading.Event()


@pytest.fixture
def start(busy_machine: threading.Event) -> Callable[[], NoReturn]:
    """A start that fails once the machine is free."""

    def fail() -> NoReturn:
        busy_machine.wait(60)
        raise OSError("no answer")

    return fail


def test_a_run_that_must_have_wandb_waits_for_its_refusal_longer_than_others(
    monkeypatch: pytest.MonkeyPatch, busy_machine: threading.Event, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wandb_mirror, "ONLINE_SECONDS", 60.0)

    def refuse() -> NoReturn:
        busy_machine.wait(0.3)
        raise SettingsError("logger.mode=online: no server")

    with pytest.raises(SettingsError, match=r"^logger\.mode=online: no server$"):
        WandbMirror(refuse, tmp_path, Dashboard(), required=True)
    assert capsys.readouterr().out == ""


def test_a_run_that_must_have_wandb_does_not_wait_for_ever(
    start: Callable[[], NoReturn], busy_machine: threading.Event, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threading.Timer(0.5, busy_machine.set).start()
    with pytest.raises(SettingsError, match=r"^logger\.mode=online: W&B has not started after 0 s; take logger\.mode=auto"):
        WandbMirror(start, tmp_path, Dashboard(), required=True)
    assert capsys.readouterr().out == ""


def test_another_run_goes_on_without_waiting(
    start: Callable[[], NoReturn], busy_machine: threading.Event, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = WandbMirror(start, tmp_path, Dashboard())
    assert capsys.readouterr().out == "W&B has not started after 0 s; the training doesn't wait for it\n"
    busy_machine.set()
    mirror.finish()
    assert mirror.failure == "OSError: no answer"


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "name"), [(None, "trial-003"), ("alexnet lr=0.01", "alexnet lr=0.01")])
def test_a_run_bears_its_folders_name_or_the_one_asked_for(tmp_path: Path, asked: str | None, name: str) -> None:
    folder = tmp_path / "trial-003"
    folder.mkdir()
    config = {"model.name": "alexnet", "data.name": "shapes"}
    run = loggers._init("offline", LoggerSettings(run_name=asked), folder, config)
    try:
        assert run.name == name
    finally:
        run.finish()
