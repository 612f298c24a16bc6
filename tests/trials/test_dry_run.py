"""``--dry-run`` shows the trials that are left and their commands, and leaves no trace."""

import sys
from pathlib import Path

import pytest
import yaml
from optuna.trial import TrialState

import sweep
from configs import SettingsError
from trials.dry_run import planned_trials
from trials.study import Study
from trials.sweep_file import read_sweep

STAND_IN = Path(__file__).parent / "stand_in_training.py"


def written(folder: Path, **others: object) -> Path:
    content = {
        "program": str(STAND_IN), "name": "tried", "method": "grid", "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}},
        "command": ["${interpreter}", "${program}", "${args_no_hyphens}"],
    }  # fmt: skip
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(content | others))
    return file


def test_a_sweep_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    assert sweep.main([str(file), "--runs", str(tmp_path / "runs"), "--dry-run", "logger=none"]) == 0
    *trials, last = capsys.readouterr().out.splitlines()
    folder = tmp_path / "runs/tried"
    assert trials == [
        f"trial {number} (lr={lr}): {sys.executable} {STAND_IN} lr={lr} runs={folder} name=trial-00{number} logger.group=tried "
        f"logger.run_name=lr={lr} logger=none"
        for number, lr in enumerate((0.1, 0.2, 0.3))
    ]
    assert last == "tried: 3 trials are left; --dry-run starts and writes nothing"
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_of_a_sweep_that_has_begun_what_is_left(tmp_path: Path) -> None:
    file, folder = written(tmp_path), tmp_path / "tried"
    folder.mkdir()
    study = Study(read_sweep(file), folder)
    done, failed = study.next_trial(), study.next_trial()
    assert done is not None
    assert failed is not None
    study.optuna.tell(done, 0.5)
    study.optuna.tell(failed, state=TrialState.FAIL)
    before = (folder / "study.db").read_bytes()
    assert [trial.label for trial in planned_trials(read_sweep(file), folder)] == ["trial 2 (lr=0.3)"]
    retried = planned_trials(read_sweep(file), folder, retry_failed=True)
    assert [trial.label for trial in retried] == ["trial 2 (lr=0.3)", "trial 3 (lr=0.2)"]
    assert (folder / "study.db").read_bytes() == before
    file = written(tmp_path, parameters={"lr": {"values": [0.1]}})
    with pytest.raises(SettingsError, match="has changed since"):
        list(planned_trials(read_sweep(file), folder))


def test_random_draws_are_those_of_the_sweep(tmp_path: Path) -> None:
    lr = {"distribution": "log_uniform_values", "min": 0.001, "max": 1.0}
    read = read_sweep(written(tmp_path, method="random", run_cap=4, parameters={"lr": lr}))
    shown = [trial.label for trial in planned_trials(read, tmp_path / "tried", seed=7)]
    study = Study(read, tmp_path, seed=7)
    drawn = [trial.user_attrs["values"]["lr"] for trial in iter(study.next_trial, None) if trial is not None]
    assert shown == [f"trial {number} (lr={value})" for number, value in enumerate(drawn)]
    assert len(shown) == 4
