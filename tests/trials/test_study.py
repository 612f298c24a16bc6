"""What happens to a study that several machines share at the moments that real processes seldom hit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from trials import study
from trials.study import Study
from trials.sweep_file import Sweep, read_sweep


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
    assert [trial.system_attrs["fixed_params"] for trial in taken_over.trials] == [{"lr": 0}, {"lr": 1}]


def test_a_trial_that_is_not_marked_yet_is_left_alone_until_its_machine_must_be_dead(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path)
    here, there = Study(sweep, tmp_path / "here", storage), Study(sweep, tmp_path / "there", storage)
    asked = here.next_trial()
    assert asked is not None
    there.resume_interrupted(retry_failed=False)
    assert [trial.number for trial in there.trials] == [0, 1]
    monkeypatch.setattr(study, "PATIENCE", 0)
    there.resume_interrupted(retry_failed=False)
    assert [trial.number for trial in there.trials] == [1, 2], "trial 2 repeats trial 0"
