"""Of a sweep's trials the best keeps its weights; what can still be resumed keeps everything."""

import csv
import socket
from pathlib import Path

import pytest
import yaml
from optuna.trial import Trial, TrialState

import sweep
from tests.faults.kill_chain import TINY
from trials.study import Study
from trials.sweep_file import read_sweep
from trials.weights import names_what_to_keep, remove_other_weights

ROOT = Path(__file__).parents[2]


def study_in(folder: Path, goal: str = "maximize", count: int = 9) -> Study:
    content = {
        "name": "tried", "method": "grid", "metric": {"name": "val/accuracy", "goal": goal},
        "parameters": {"lr": {"values": [number / 10 for number in range(1, count + 1)]}},
    }  # fmt: skip
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    return Study(read_sweep(folder / "sweep.yaml"), folder)


def started(study: Study, best_only: bool | None = True, folder: Path | None = None) -> Trial:
    """The next trial, as the runner starts it, with a checkpoint."""
    trial = study.next_trial()
    assert trial is not None
    folder = folder or study.folder / f"trial-{trial.number:03d}"
    for name, value in {"folder": str(folder), "host": socket.gethostname(), "best_only": best_only}.items():
        if value is not None:
            trial.set_user_attr(name, value)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints/weights.ckpt").touch()
    (folder / "metrics.csv").touch()
    return trial


def with_weights(study: Study) -> list[int]:
    """The trials that have weights once the others' were removed."""
    remove_other_weights(study)
    folders = [trial.user_attrs.get("folder") for trial in study.optuna.get_trials()]
    assert all((Path(folder) / "metrics.csv").exists() for folder in folders if folder), "nothing else goes"
    return [number for number, folder in enumerate(folders) if folder and (Path(folder) / "checkpoints").exists()]


@pytest.mark.parametrize(("goal", "left"), [("maximize", [[0], [1], [1], [3], [3]]), ("minimize", [[0], [0], [2], [2], [2]])])
def test_the_best_so_far_keeps_its_weights(goal: str, left: list[list[int]], tmp_path: Path) -> None:
    study = study_in(tmp_path, goal)
    for value, kept in zip([0.5, 0.6, 0.1, 0.9, 0.9], left, strict=True):
        study.optuna.tell(started(study), value)
        assert with_weights(study) == kept


def test_what_runs_or_failed_keeps_what_it_can_be_resumed_from(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    running, stopped, failed, best = (started(study) for _ in range(4))
    study.optuna.tell(stopped, state=TrialState.PRUNED)
    study.optuna.tell(failed, state=TrialState.FAIL)
    study.optuna.tell(best, 0.5)
    assert with_weights(study) == [running.number, failed.number, best.number]
    study.resume_interrupted(retry_failed=True)  # the failed one anew; the running one, which has no process, where it was
    again = [trial.user_attrs["again"] for trial in study.trials if "again" in trial.user_attrs]
    assert again == [running.number, failed.number]
    same_folder = 9  # the number of the trial that goes on in the running one's
    assert with_weights(study) == [running.number, best.number, same_folder]


def test_trials_that_were_told_what_to_keep_are_left_alone(tmp_path: Path) -> None:
    """As are those of a sweep that was started by an earlier version, and what lies elsewhere."""
    study = study_in(tmp_path)
    told, before, elsewhere, best = (
        started(study, best_only=False),
        started(study, best_only=None),
        started(study, folder=tmp_path.parent / f"{tmp_path.name}-elsewhere"),
        started(study),
    )
    for trial, value in ((told, 0.1), (before, 0.2), (elsewhere, 0.3), (best, 0.4)):
        study.optuna.tell(trial, value)
    assert with_weights(study) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("word", "told"),
    [("trainer.keep=last", True), ("--trainer.keep=none", True), ("trainer.keep", True), ("trainer={'keep': 'all'}", True),
     ("trainer.max_epochs=3", False), ("name=keep", False), ("name=trainer", False)],
)  # fmt: skip
def test_the_words_that_name_what_to_keep(word: str, told: bool) -> None:
    assert names_what_to_keep(["optim.lr=0.1", word]) is told


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["trainer.keep=all"]], ids=["by default", "told to keep all"])
def test_six_trials_leave_the_weights_of_one(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trainings of ``train.py`` with the small network: what six of them leave, against what they left before."""
    monkeypatch.chdir(ROOT)
    small = dict(word.split("=", 1) for word in TINY if not word.startswith("trainer.keep"))
    values = {key: yaml.safe_load(value) for key, value in small.items()} | {
        "trainer.max_epochs": 1, "viz.every_n_epochs": 0, "logger": "none",
    }  # fmt: skip
    content = {
        "program": "train.py", "name": "tried", "method": "grid", "metric": {"name": "val/loss", "goal": "minimize"},
        "parameters": {key: {"value": value} for key, value in values.items()} | {"seed": {"values": [1, 2, 3, 4, 5, 6]}},
        "command": ["${interpreter}", "-m", "tests.faults.killed_run", "none", "0", "${args_no_hyphens}"],
    }  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    assert sweep.main([str(tmp_path / "sweep.yaml"), "--runs", str(tmp_path), *words]) == 0
    with (tmp_path / "tried/trials.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["ended"] for row in rows] == ["finished"] * 6
    best = min(rows, key=lambda row: float(row["best"]))["folder"]
    files = sorted(str(file.relative_to(tmp_path / "tried")) for file in (tmp_path / "tried").rglob("*.ckpt"))
    if words:
        assert files == [f"trial-00{number}/checkpoints/{name}.ckpt" for number in range(6) for name in ("best", "last")]
    else:
        assert files == [f"{best}/checkpoints/weights.ckpt"]
        assert "the best trial's weights stay" in " ".join(capsys.readouterr().out.split())
