"""``python sweep.py``: sweeps of a stand-in training in real processes, killed and continued; and one of train.py itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

import sweep
from tests.trials.sweeps import starts, table, wait_for, written
from trials.runner import Runner
from trials.study import Study
from trials.sweep_file import read_sweep

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_a_grid_runs_once_and_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, {"lr": [0.1, 0.5, 2.0], "model": ["a", "b"]})
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    rows = table(tmp_path)
    assert [(row["lr"], row["model"]) for row in rows] == [(lr, model) for lr in ("0.1", "0.5", "2.0") for model in "ab"]
    assert [row["ended"] for row in rows] == ["finished"] * 4 + ["diverged"] * 2
    assert [float(row["best"]) for row in rows[:4]] == pytest.approx([0.1, 0.1, 0.5, 0.5])
    assert [row["folder"] for row in rows] == [f"trial-00{number}" for number in range(6)]
    assert [float(row["seconds"]) for row in rows[:4]] == [0.03] * 4, "three epochs of 0.01 s"
    output = capsys.readouterr().out
    assert "diverged: loss inf in epoch 2" in output
    assert "best val/accuracy 0.5" in output
    for name in ("lr.png", "curves.png", "importance.png"):
        assert Image.open(tmp_path / "tried" / name).width > 300
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0, "a second start"
    assert all(epochs == ["0"] for epochs in starts(tmp_path).values()), "repeats nothing"
    assert len(starts(tmp_path)) == 6
    page = tmp_path / "tried/index.html"
    assert "".join(output.split()).endswith(f"Open{page}"), "the last line names the sweep's page"
    assert "val/accuracy" in page.read_text()


@pytest.mark.parametrize("orphaned", [False, True], ids=["with-its-training", "training-lives-on"])
def test_killed_with_signal_9_it_resumes_where_it_was(tmp_path: Path, orphaned: bool) -> None:
    file = written(tmp_path, {"lr": [0.1, 0.2, 0.3], "epochs": {"value": 4}, "pace": {"value": 0.7}})
    command = [sys.executable, str(ROOT / "sweep.py"), str(file), "--runs", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    second = tmp_path / "tried/trial-001"
    wait_for(lambda: (second / "metrics.csv").exists())
    wait_for(lambda: trial_process(tmp_path, 1) is not None)
    process.kill()
    process.wait()
    if not orphaned:
        os.kill(trial_process(tmp_path, 1) or 0, signal.SIGKILL)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = table(tmp_path)
    assert [row["ended"] for row in rows] == ["finished"] * 3, done.stdout
    assert sorted(float(row["best"]) for row in rows) == pytest.approx([0.1, 0.2, 0.3])
    epochs = starts(tmp_path)
    assert epochs["trial-000"] == ["0"], "what had finished stays"
    if orphaned:
        assert epochs["trial-001"] == ["0"], "what still runs is waited for"
    else:
        assert len(epochs["trial-001"]) == 2
        assert int(epochs["trial-001"][1]) >= 1, "what was interrupted resumes after its last epoch"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_a_signal_it_ends_its_training_too(tmp_path: Path, number: signal.Signals) -> None:
    file = written(tmp_path, {"lr": [0.1, 0.2], "epochs": {"value": 100}, "pace": {"value": 0.5}})
    command = [sys.executable, str(ROOT / "sweep.py"), str(file), "--runs", str(tmp_path)]
    before = signal.signal(number, signal.SIG_DFL)  # what the process inherits: after nohup SIGHUP would be ignored
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    signal.signal(number, before)
    wait_for(lambda: (tmp_path / "tried/trial-000/metrics.csv").exists())
    wait_for(lambda: trial_process(tmp_path, 0) is not None)
    training = psutil.Process(trial_process(tmp_path, 0))
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted; the same command resumes" in output
    assert not training.is_running()


def test_a_training_interrupted_in_its_first_epoch_starts_anew(tmp_path: Path) -> None:
    file = written(tmp_path, {"lr": [0.1], "pace": {"value": 1.0}})
    command = [sys.executable, str(ROOT / "sweep.py"), str(file), "--runs", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "tried/trial-000/starts").exists())
    wait_for(lambda: trial_process(tmp_path, 0) is not None)
    process.kill()
    process.wait()
    os.kill(trial_process(tmp_path, 0) or 0, signal.SIGKILL)
    assert not (tmp_path / "tried/trial-000/metrics.csv").exists(), "it was killed too late"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [row["ended"] for row in table(tmp_path)] == ["finished"], done.stdout
    assert starts(tmp_path) == {"trial-000": ["0"]}, "nothing is left of the first start"


def trial_process(folder: Path, number: int) -> int | None:
    study = Study(read_sweep(folder / "sweep.yaml"), folder / "tried")
    found = [trial.user_attrs.get("pid") for trial in study.trials if trial.number == number]
    return found[0] if found else None


def test_failed_trials_say_why_and_are_retried_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, {"lr": [0.1, 0.2], "crash": [False, True]})
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "failed: out of luck" in output
    assert "--retry-failed" in output
    assert [row["ended"] for row in table(tmp_path)] == ["finished", "failed", "finished", "failed"]
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 1, "not by itself"
    (tmp_path / "tried/mended").touch()
    assert sweep.main([str(file), "--runs", str(tmp_path), "--retry-failed"]) == 0
    assert [row["ended"] for row in table(tmp_path)] == ["finished"] * 4
    assert [len(each) for each in starts(tmp_path).values()] == [1] * 4


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "as-a-shells-background-job"])
def test_hopeless_trials_are_stopped_early(tmp_path: Path, background: bool) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if background else signal.default_int_handler)
    try:
        _stopped_early(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)


def _stopped_early(tmp_path: Path) -> None:
    hyperband = {"type": "hyperband", "min_iter": 1, "eta": 3}
    parameters = {"lr": [0.9, 0.1], "epochs": {"value": 20}, "pace": {"value": 0.15}}
    file = written(tmp_path, parameters, early_terminate=hyperband)
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    good, bad = table(tmp_path)
    assert (good["ended"], good["epoch"]) == ("finished", "20.0")
    assert bad["ended"] == "stopped"
    assert 1 <= float(bad["epoch"]) < 20


def test_jobs_run_beside_each_other(tmp_path: Path) -> None:
    file = written(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4], "pace": {"value": 0.3}})
    folder = tmp_path / "tried"
    folder.mkdir()
    runner = Runner(Study(read_sweep(file), folder), folder, jobs=2, poll_seconds=0.05)
    others: list[int] = []
    runner.run([], lambda trial: others.append(len(runner.running)))
    assert len(others) == 4
    assert max(others) == 1, "one other was running when a trial ended"


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_ends_at_its_cap_and_is_resumed_with_other_draws(tmp_path: Path, method: str) -> None:
    parameters = {"lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.9}, "epochs": {"value": 1}}
    for cap in (2, 4):
        folder = written(tmp_path, parameters, method=method, run_cap=cap)
        assert sweep.main([str(folder), "--runs", str(tmp_path)]) == 0
        assert len(table(tmp_path)) == cap
    assert len({row["lr"] for row in table(tmp_path)}) == 4


def test_a_study_in_a_shared_database_is_continued_from_elsewhere(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    file = written(tmp_path, {"lr": [0.1, 0.2], "epochs": {"value": 1}})
    for place in ("here", "there"):
        assert sweep.main([str(file), "--runs", str(tmp_path / place), "--storage", storage]) == 0
        assert [float(row["best"]) for row in table(tmp_path / place)] == [0.1, 0.2]
    assert len(starts(tmp_path / "here")) == 2
    assert not starts(tmp_path / "there"), "all was done already"
    (tmp_path / "here").rename(tmp_path / "on another machine")
    assert sweep.main([str(file), "--runs", str(tmp_path / "there"), "--storage", storage]) == 0
    assert [float(row["best"]) for row in table(tmp_path / "there")] == [0.1, 0.2], "as the study knows them"


def test_machines_that_start_together_share_the_trials(tmp_path: Path) -> None:
    """Three folders stand for three machines; their processes start at once, on a database that isn't there yet."""
    file = written(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], "epochs": {"value": 1}, "pace": {"value": 0.5}})
    storage = ["--storage", f"sqlite:///{tmp_path / 'shared.db'}"]
    places = [tmp_path / name for name in ("a", "b", "c")]
    command = [sys.executable, str(ROOT / "sweep.py"), str(file), *storage]
    machines = [
        subprocess.Popen(
            [*command, "--runs", str(place)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for place in places
    ]
    output = [machine.communicate(timeout=120)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0, 0], output
    run_where = [set(starts(place)) for place in places]
    assert sorted(name for names in run_where for name in names) == [f"trial-{n:03d}" for n in range(7)], "each once"
    assert sum(bool(names) for names in run_where) >= 2, "they shared the work"


def test_what_a_file_says_of_wandb_reaches_the_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = {"project": "networks", "entity": "a-team", "description": "which rate is best, see [/data/notes] :smile:"}
    file = written(tmp_path, {"lr": [0.1], "note": ["[/bold]", ":x:"], "epochs": {"value": 1}}, **entries)
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "which rate is best, see [/data/notes] :smile:" in " ".join(output.split()), "no markup"
    assert "no W&B sweep object" in output
    assert output.count("[/bold]") > 2, "in lines and in the table"
    command = (tmp_path / "tried/trial-000.txt").read_text().splitlines()[0].split()
    assert {"logger.project=networks", "logger.entity=a-team", "logger.group=tried"} <= set(command)


def test_a_sweep_that_runs_already_is_not_run_twice(tmp_path: Path) -> None:
    file = written(tmp_path, {"lr": [0.1], "until": {"value": str(tmp_path / "tried-twice")}})
    command = [sys.executable, str(ROOT / "sweep.py"), str(file), "--runs", str(tmp_path)]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "tried/trial-000/starts").exists())
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 2
    assert "is being run already" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    (tmp_path / "tried-twice").touch()
    assert first.wait(timeout=60) == 0
    assert starts(tmp_path) == {"trial-000": ["0"]}


def test_seeds_give_means_with_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metric = {"name": "final/accuracy", "goal": "maximize"}
    file = written(tmp_path, {"lr": [0.5], "seed": [1, 2, 3]}, metric=metric)
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert [float(row["best"]) for row in table(tmp_path)] == [0.51, 0.52, 0.53], "taken once, at the end"
    # By hand: mean 0.52, deviation 0.01, and Student's t for two degrees of freedom is 4.303.
    assert f"{0.52 - 4.303 * 0.01 / 3**0.5:.4g} to {0.52 + 4.303 * 0.01 / 3**0.5:.4g}" in output
    assert " left" in output


def test_a_target_ends_the_search(tmp_path: Path) -> None:
    metric = {"name": "val/accuracy", "goal": "maximize", "target": 0.15}
    file = written(tmp_path, {"lr": [0.1, 0.2, 0.3]}, metric=metric)
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    assert [row["lr"] for row in table(tmp_path)] == ["0.1", "0.2"]


def test_mistakes_end_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main([str(tmp_path / "none.yaml")]) == 2
    assert "can't be read" in capsys.readouterr().err
    file = written(tmp_path, {"lr": [0.1], "epochs": {"value": 1}})
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    written(tmp_path, {"lr": [0.2], "epochs": {"value": 1}})
    capsys.readouterr()
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 2
    assert "has changed since" in capsys.readouterr().err


def test_a_typo_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = ["${interpreter}", "${program}", "${args_no_hyphens}"]
    file = written(tmp_path, {"optim.lrr": [0.1], "modle": ["zfnet"]}, program="train.py", command=command)
    assert sweep.main([str(file), "--runs", str(tmp_path / "runs")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "did you mean optim.lr?" in lines[0]
    assert "did you mean model?" in lines[1]
    assert not (tmp_path / "runs").exists()


def test_a_trial_that_is_run_again_is_shown_from_its_own_folder(tmp_path: Path) -> None:
    file = written(tmp_path, {"lr": [0.2], "crash": [True]})
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 1
    (tmp_path / "tried/mended").touch()
    assert sweep.main([str(file), "--runs", str(tmp_path), "--retry-failed"]) == 0
    (row,) = table(tmp_path)
    assert (row["trial"], row["folder"]) == ("1", "trial-001")


def test_trials_of_train_py_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    small = {
        "data": "shapes", "data.images_per_class": 10, "data.batch_size": 16, "data.image_size": 67, "data.train_sizes": [67],
        "trainer.max_epochs": 1, "viz.every_n_epochs": 0, "viz.sensitivity": False, "logger": "none", "optim.clip": 0,
        "optim.name": "sgd", "optim.warmup_epochs": 0,
    }  # fmt: skip
    parameters = {key: {"value": value} for key, value in small.items()} | {
        "optim": {"parameters": {"lr": {"values": [0.001, 1e5]}}}
    }
    file = written(tmp_path, parameters, program="train.py", early_terminate={"type": "hyperband", "min_iter": 3})
    assert sweep.main([str(file), "--runs", str(tmp_path)]) == 0
    fine, wild = table(tmp_path)
    assert fine["ended"] == "finished"
    assert 0 <= float(fine["best"]) <= 1
    assert wild["ended"] == "diverged"
    assert "batch" in wild["remark"]
