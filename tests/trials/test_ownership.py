"""A folder belongs to the study that made it, whatever became of either."""

import json
from pathlib import Path

import pytest
import yaml

from configs import SettingsError
from trials.runner import Runner
from trials.study import Study
from trials.sweep_file import Sweep, folder_name, read_sweep


def sweep_of(folder: Path, name: str) -> Sweep:
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({"name": name, "method": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}}))
    return read_sweep(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs/epochs-1"
    folder.mkdir(parents=True)
    return folder


def refusal(sweep: Sweep, folder: Path, storage: str | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        Study(sweep, folder, storage)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_two_names_that_become_one_folder_are_not_one_sweep(tmp_path: Path, folder: Path) -> None:
    first, second = "epochs 1", "epochs (1)"
    assert folder_name(first) == folder_name(second) == folder.name
    Study(sweep_of(tmp_path, first), folder)
    before = (folder / "study.db").read_bytes()
    assert "belongs to the sweep 'epochs 1', not to 'epochs (1)'" in refusal(sweep_of(tmp_path, second), folder)
    assert (folder / "study.db").read_bytes() == before
    assert len(Study(sweep_of(tmp_path, first), folder).trials) == 2, "its own it opens again"


def test_the_runs_of_a_study_that_is_gone_are_not_taken_over(tmp_path: Path, folder: Path) -> None:
    sweep = sweep_of(tmp_path, "epochs 1")
    Study(sweep, folder)
    (folder / "study.db").unlink()
    assert "whose database" in refusal(sweep, folder)
    assert not (folder / "study.db").exists(), "nothing is written"


def test_two_databases_do_not_share_a_folder(tmp_path: Path, folder: Path) -> None:
    sweep = sweep_of(tmp_path, "epochs 1")
    one, other = (f"sqlite:///{tmp_path / name}.db" for name in ("one", "other"))
    Study(sweep, folder, one)
    assert "belongs to another study of the sweep 'epochs 1'" in refusal(sweep, folder, other)
    assert "belongs to another study" in refusal(sweep, copied(folder, tmp_path), f"sqlite:///{tmp_path / 'third.db'}")
    Study(sweep, folder, one)


def copied(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "study.json").write_bytes((folder / "study.json").read_bytes())
    return copy


def test_trials_that_no_study_is_known_of_are_not_taken_over(tmp_path: Path, folder: Path) -> None:
    (folder / "trial-001/checkpoints").mkdir(parents=True)
    assert "holds trial-001, which no trial of this study made" in refusal(sweep_of(tmp_path, "epochs 1"), folder)


def test_a_study_from_before_folders_had_owners_keeps_its_own(tmp_path: Path, folder: Path) -> None:
    sweep = sweep_of(tmp_path, "epochs 1")
    trial = Study(sweep, folder).next_trial()
    assert trial is not None
    trial.set_user_attr("folder", str(folder / "trial-000"))
    (folder / "trial-000").mkdir()
    (folder / "study.json").unlink()
    Study(sweep, folder)
    assert json.loads((folder / "study.json").read_text())["name"] == "epochs 1"


def test_settings_after_the_files_name_stay_the_same_for_all_trials(tmp_path: Path, folder: Path) -> None:
    """But for those that the figures don't depend on."""
    sweep = sweep_of(tmp_path, "epochs 1")
    Study(sweep, folder, overrides=["optim.momentum=0.5", "trainer.max_epochs=3", "logger=none"])
    Study(sweep, folder, overrides=["optim.momentum=0.5", "trainer.max_epochs=3", "trainer.keep=last", "logger.mode=offline"])
    for words in ([], ["optim.momentum=0.5"], ["optim.momentum=0.5", "--trainer.max_epochs=4"]):
        with pytest.raises(SettingsError) as caught:
            Study(sweep, folder, overrides=words)
        assert "began with optim.momentum=0.5 trainer.max_epochs=3, not with " in str(caught.value)
        assert (" ".join(words) or "none") in str(caught.value)


def test_a_study_from_before_such_settings_were_noted_goes_on(tmp_path: Path, folder: Path) -> None:
    sweep = sweep_of(tmp_path, "epochs 1")
    study = Study(sweep, folder)
    before = dict(study.optuna.user_attrs["definition"])
    del before["overrides"]
    study.optuna.set_user_attr("definition", before)
    Study(sweep, folder, overrides=["optim.momentum=0.5"])
    study.optuna.set_user_attr("definition", before | {"method": "random"})
    assert "has changed since" in refusal(sweep, folder)


def test_a_damaged_owner_is_one_line(tmp_path: Path, folder: Path) -> None:
    for damage in ("", "{", "[]", '{"name": "epochs 1"}'):
        (folder / "study.json").write_text(damage)
        assert "is damaged" in refusal(sweep_of(tmp_path, "epochs 1"), folder)


def test_a_new_trial_never_begins_in_a_folder_that_is_there(tmp_path: Path, folder: Path) -> None:
    """As after an older copy of the database was put back: it doesn't know the trials that were started since."""
    study = Study(sweep_of(tmp_path, "epochs 1"), folder)
    strange = folder / "trial-000/checkpoints/last.ckpt"
    strange.parent.mkdir(parents=True)
    strange.touch()
    runner, trial = Runner(study, folder), study.next_trial()
    assert trial is not None
    assert runner.run_folder(trial) == folder / "trial-000-2"
    assert f"name={'trial-000-2'}" in runner.command(trial, runner.run_folder(trial))
    trial.set_user_attr("folder", str(folder / "trial-000"))
    assert runner.command(trial, runner.run_folder(trial))[-1] == f"resume={folder / 'trial-000'}", "its own it resumes"
