"""What a sweep shows on the terminal while it runs: how far it is, and each running trial."""

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self

from optuna.trial import FrozenTrial
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from configs import SettingsError
from configs.parser import load_settings
from experiment.run_folder import read_metrics, read_summary
from trials.report import describe_ending, run_seconds, trial_label
from trials.runner import Running
from trials.study import Study
from trials.time_left import Epochs, seconds_left


class SweepProgress:
    """A bar of the trials and, below it, a line for each that runs. What has begun or ended is printed as a line of its own.

    Args:
        study: the trials.
        console: where to show it; one that is no terminal gets the printed lines only.
        jobs: trials at a time.
    """

    def __init__(self, study: Study, console: Console, jobs: int) -> None:
        self.study = study
        self.console = console
        self.jobs = jobs
        # What is shown holds words of the sweep file: they are no markup.
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[news]}", markup=False),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._whole = self._bar.add_task(study.sweep.name, total=study.planned, completed=len(study.finished()), news="")
        self._lines: dict[int, TaskID] = {}
        self._planned: dict[int, int | None] = {}
        self._finished = [_recorded_seconds(trial) for trial in study.finished()]
        self._running: Sequence[Running] = ()

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__(None, None, None)

    def look(self, running: Sequence[Running]) -> None:
        """Show how far the running trials are."""
        self._running = running
        for each in running:
            number, epochs = each.trial.number, self._epochs(each)
            if number not in self._lines:
                label = trial_label(number, each.trial.user_attrs["values"], self.study.sweep.varied)
                self.console.print(f"{label} runs; its output: {each.output}", soft_wrap=True)
                self._lines[number] = self._bar.add_task(f"  {label}", total=epochs.planned, news="")
            best = self.study.sweep.metric.best_value(each.rows, {})
            news = [] if best is None else [f"best {self.study.sweep.metric.name} {best:.4g}"]
            self._bar.update(
                self._lines[number], completed=epochs.done, total=epochs.planned, news="; ".join([*news, str(each.output)])
            )
        self._bar.update(self._whole, news=self._news(len(self._finished)))

    def end(self, trial: FrozenTrial) -> None:
        """Show that a trial has ended."""
        self._finished.append(_recorded_seconds(trial))
        if trial.number in self._lines:
            self._bar.remove_task(self._lines.pop(trial.number))
        self._running = [each for each in self._running if each.trial.number != trial.number]
        finished = len(self.study.finished())
        news = self._news(finished)
        self._bar.update(self._whole, completed=finished, total=self.study.planned, news=news)
        ending = describe_ending(trial, self.study.sweep.varied, self.study.sweep.metric.name)
        parts = [ending, f"{finished} of {self.study.planned}", *([news] if news else [])]
        self.console.print("; ".join(parts), soft_wrap=True)

    def _news(self, finished: int) -> str:
        """Say what is best so far, and how long the rest takes."""
        best, metric = self.study.best_trial(), self.study.sweep.metric.name
        news = [] if best is None else [f"best {metric} {best.value:.4g} (trial {best.number})"]
        waiting = max(0, self.study.planned - finished - len(self._running))
        running = [self._epochs(each) for each in self._running]
        seconds = seconds_left([each for each in self._finished if each is not None], running, waiting, self.jobs)
        if (running or waiting) and seconds is not None:
            news.append(f"{timedelta(seconds=round(seconds))} left")
        return "; ".join(news)

    def _epochs(self, running: Running) -> Epochs:
        number = running.trial.number
        if self._planned.get(number) is None:
            self._planned[number] = _planned_epochs(running.folder)
        return Epochs(len(running.rows), self._planned[number], run_seconds(running.rows, {}) or 0.0)


def _planned_epochs(folder: Path) -> int | None:
    """Return how many epochs the run in a folder will have, None where its settings aren't there, or not yet."""
    file = folder / "config.yaml"
    with contextlib.suppress(SettingsError):
        return load_settings(file).trainer.max_epochs if file.is_file() else None
    return None


def _recorded_seconds(trial: FrozenTrial) -> float | None:
    folder = Path(trial.user_attrs.get("folder", ""))
    return run_seconds(read_metrics(folder), read_summary(folder / "summary.json") or {})
