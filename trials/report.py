"""What came out of a sweep: the results of its trials, as tables for the terminal and as ``trials.csv``."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from scipy import stats

from configs.files import atomic_write_text
from experiment.run_folder import read_metrics, read_summary
from trials.study import Study


@dataclass(frozen=True)
class Result:
    """What came out of one trial.

    Attributes:
        number: the trial's.
        state: finished, running, diverged, stopped (early) or failed.
        values: those of the varied parameters.
        rows: of the run's ``metrics.csv``, one an epoch.
        final: what the evaluation at the end gave: ``final/test/accuracy`` and so on.
        best: the metric's best value.
        remark: how it diverged, was stopped or failed.
        folder: of its run; None for a trial that never got one.
        seconds: that its run took, as it recorded them.
    """

    number: int
    state: str
    values: dict[str, Any]
    rows: list[dict[str, float]]
    final: dict[str, float]
    best: float | None
    remark: str
    folder: Path | None
    seconds: float | None

    def last(self, name: str) -> float | None:
        """Return the last value of a metric."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)


def read_results(study: Study) -> list[Result]:
    """Read the results of all trials that were started, by number."""
    results = []
    for trial in study.trials:
        if trial.state == TrialState.WAITING:
            continue
        known = trial.user_attrs.get("folder")
        folder = Path(known or "")
        rows, summary = read_metrics(folder), read_summary(folder / "summary.json") or {}
        final = {name: value for name, value in summary.items() if name.startswith("final/")}
        best = study.sweep.metric.best_value(rows, summary)
        if best is None and trial.state == TrialState.COMPLETE:  # on another machine: the study alone knows it
            best = trial.value
        values = {key: trial.user_attrs.get("values", {}).get(key) for key in study.sweep.varied}
        state, remark = _ending(trial)
        seconds = run_seconds(rows, summary)
        results.append(Result(trial.number, state, values, rows, final, best, remark, Path(known) if known else None, seconds))
    return results


def _ending(trial: FrozenTrial) -> tuple[str, str]:
    """Return the state in which a trial ended, and the remark on it."""
    attributes = trial.user_attrs
    for state in ("diverged", "stopped", "failed"):
        if state in attributes:
            return state, str(attributes[state])
    if trial.state == TrialState.FAIL:
        return "failed", "its machine gave no sign of life, another takes it over"
    return {TrialState.COMPLETE: "finished", TrialState.RUNNING: "running"}.get(trial.state, "failed"), ""


def run_seconds(rows: Sequence[Mapping[str, float]], summary: Mapping[str, Any]) -> float | None:
    """Return how long a run took: as its summary says, else its epochs together; None where it recorded no time.

    A trial's own begin and end would count the time in which it was interrupted.
    """
    seconds = summary.get("seconds")
    if isinstance(seconds, int | float):
        return float(seconds)
    epochs = [row["seconds"] for row in rows if "seconds" in row]
    return round(sum(epochs), 3) if epochs else None


def trial_label(number: int, values: Mapping[str, Any], varied: Sequence[str]) -> str:
    """Return the number of a trial with the values of the varied parameters."""
    settings = " ".join(f"{key}={values.get(key)}" for key in varied)
    return f"trial {number} ({settings})" if settings else f"trial {number}"


def describe_ending(trial: FrozenTrial, varied: Sequence[str], metric: str) -> str:
    """Return a line on how a trial ended, with the values of the varied parameters."""
    name = trial_label(trial.number, trial.user_attrs.get("values", {}), varied)
    state, remark = _ending(trial)
    return f"{name}: {metric} {trial.value:.4g}" if state == "finished" else f"{name}: {state}: {remark}"


def trials_table(study: Study, results: Sequence[Result]) -> Table:
    """Build the table of the trials, the best first, those without a value last."""
    metric = study.sweep.metric
    table = Table("trial", *study.sweep.varied, f"best {metric.name}", "test/loss at the end", "epochs", "ended")
    sign = -1 if metric.maximize else 1
    for result in sorted(results, key=lambda result: (result.best is None, sign * (result.best or 0.0))):
        loss = result.last("test/loss")
        table.add_row(
            str(result.number), *map(str, result.values.values()), "" if result.best is None else f"{result.best:.4g}",
            "" if loss is None else f"{loss:.4g}", str(len(result.rows)), f"{result.state} {result.remark}".strip(),
        )  # fmt: skip
    return table


def seed_means_table(study: Study, results: Sequence[Result]) -> Table | None:
    """Build the table of means over the seeds, with Student's 95 % interval, for each combination of the other parameters.

    Trials that didn't finish are left out and counted. None where ``seed`` isn't varied.
    """
    varied, metric = study.sweep.varied, study.sweep.metric.name
    if "seed" not in varied:
        return None
    others = [key for key in varied if key != "seed"]
    table = Table(*others, f"mean {metric}", "95 % interval", "seeds", "not finished")
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(str(result.values[key]) for key in others), []).append(result)
    for combination, group in groups.items():
        values = [result.best for result in group if result.state == "finished" and result.best is not None]
        mean = interval = ""
        if values:
            mean = f"{np.mean(values):.4g}"
        if len(values) > 1:
            half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
            interval = f"{np.mean(values) - half:.4g} to {np.mean(values) + half:.4g}"
        table.add_row(*combination, mean, interval, str(len(values)), str(len(group) - len(values)))
    return table


def write_csv(results: Sequence[Result], file: Path) -> None:
    """Write a row for each trial: its folder, the metric's best value, figures of the last epoch and of the end.

    ``folder`` is named from that of the file, and ``seconds`` are those of the whole trial.
    """
    rows = [
        {"trial": result.number, **result.values, "ended": result.state, "remark": result.remark}
        | {"folder": _folder_beside(result.folder, file), "best": result.best}
        | (result.rows[-1] if result.rows else {})
        | {"seconds": result.seconds}
        | result.final
        for result in results
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write_text(file, text.getvalue())


def _folder_beside(folder: Path | None, file: Path) -> str:
    """Return a run's folder as it is named from the folder of a file, or in full where it is on another machine."""
    if folder is None:
        return ""
    return folder.name if folder.absolute().parent == file.absolute().parent else str(folder)
