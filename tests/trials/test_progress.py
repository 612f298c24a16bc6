"""What a sweep says while it runs: the time left, a line for each running trial."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from configs.parser import parse, save_settings
from trials.progress import SweepProgress
from trials.runner import Running
from trials.study import Study
from trials.sweep_file import read_sweep
from trials.time_left import Epochs, seconds_left


@pytest.mark.parametrize(
    ("finished", "running", "waiting", "jobs", "seconds"),
    [
        ([], [], 3, 1, None),
        ([], [Epochs(0, 10, 0)], 3, 1, None),
        ([], [Epochs(2, 10, 8)], 0, 1, 8 * 4),
        ([], [Epochs(2, 10, 8)], 3, 1, 8 * 4 + 3 * 40),
        ([100, 20], [Epochs(2, 10, 8)], 3, 1, 8 * 4 + 3 * 60),  # one was stopped early, so will others be
        ([60], [Epochs(2, None, 8), Epochs(0, 10, 0)], 0, 2, 60),  # not sooner than the longest
        ([60], [Epochs(2, 10, 8), Epochs(4, 10, 8)], 4, 2, (32 + 12 + 240) / 2),
        ([60], [Epochs(9, None, 80)], 0, 1, 0),
        ([60], [], 2, 1, 120),
    ],
)
def test_the_time_left_follows_from_the_epochs(
    finished: Sequence[float], running: Sequence[Epochs], waiting: int, jobs: int, seconds: float | None
) -> None:
    assert seconds_left(finished, running, waiting, jobs) == seconds


def test_each_running_trial_has_a_line(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    parameters = {"lr": {"values": [0.1, 0.2, 0.3]}, "note": {"value": "[/data/notes]"}}
    file.write_text(yaml.safe_dump({"name": "[/bold]", "method": "grid", "parameters": parameters}))
    study = Study(read_sweep(file), tmp_path)
    trial = study.next_trial()
    assert trial is not None
    folder = tmp_path / "trial-000"
    folder.mkdir()
    trial.set_user_attr("folder", str(folder))
    save_settings(parse(["trainer.max_epochs=5"]), folder / "config.yaml")
    rows = [{"epoch": 1.0, "seconds": 10.0, "val/accuracy": 0.25}, {"epoch": 2.0, "seconds": 12.0, "val/accuracy": 0.125}]
    console = Console(file=io.StringIO(), force_terminal=True, width=300, color_system=None, markup=False, emoji=False)
    with SweepProgress(study, console, jobs=1) as progress:
        progress.look([Running(trial, None, folder, rows)])
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert f"trial 0 (lr=0.1) runs; its output: {folder}.txt" in shown
    line = next(line for line in reversed(shown.splitlines()) if "2/5" in line)
    assert "best val/accuracy 0.25" in line
    assert "[/bold]" in shown
    assert "0:02:23 left" in shown, "three epochs of 11 s, and two trials of five"
