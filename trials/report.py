"""What came out of a sweep: a table, and pictures over the parameter that matters and over the epochs."""

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from configs.run_folder import read_rows
from trials.study import Study

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's


@dataclass(frozen=True)
class Result:
    """One trial: its number, how it ended, the values of the varied parameters, its rows and the metric's best value."""

    number: int
    state: str
    values: dict[str, Any]
    rows: list[dict[str, float]]
    best: float | None
    remark: str

    @property
    def diverged(self) -> bool:
        """Whether the loss left all bounds."""
        return self.state == "diverged"

    def last(self, name: str) -> float | None:
        """The last value of a metric."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)


def results(study: Study) -> list[Result]:
    """All trials that ran, by number."""
    metric = study.sweep.metric
    found = []
    for trial in study.trials:
        if trial.state == TrialState.WAITING:
            continue
        file = Path(trial.user_attrs.get("folder", "")) / "metrics.csv"
        rows = read_rows(file) if file.is_file() else []
        seen = [row[metric.name] for row in rows if metric.name in row]
        best = (max if metric.maximize else min)(seen, default=None)
        values = {key: trial.user_attrs.get("values", {}).get(key) for key in study.sweep.varied}
        state, remark = _ending(trial)
        found.append(Result(trial.number, state, values, rows, best, remark))
    return found


def _ending(trial: FrozenTrial) -> tuple[str, str]:
    attributes = trial.user_attrs
    for state in ("diverged", "stopped", "failed"):
        if state in attributes:
            return state, str(attributes[state])
    return {TrialState.COMPLETE: "finished", TrialState.RUNNING: "running"}.get(trial.state, "failed"), ""


def table(study: Study, found: Sequence[Result]) -> Table:
    """The trials, the best first, those without a value last."""
    metric = study.sweep.metric
    made = Table("trial", *study.sweep.varied, f"best {metric.name}", "test/loss at the end", "epochs", "ended")
    sign = -1 if metric.maximize else 1
    for each in sorted(found, key=lambda each: (each.best is None, sign * (each.best or 0.0))):
        loss = each.last("test/loss")
        made.add_row(
            str(each.number), *map(str, each.values.values()), "" if each.best is None else f"{each.best:.4g}",
            "" if loss is None else f"{loss:.4g}", str(len(each.rows)), f"{each.state} {each.remark}".strip(),
        )  # fmt: skip
    return made


def write(study: Study, found: Sequence[Result], folder: Path) -> list[Path]:
    """Write ``trials.csv``, with the best value of the metric and all of the last epoch's figures, and the pictures.

    Returns the files.
    """
    files = [folder / "trials.csv"]
    rows = [
        {"trial": each.number, **each.values, "ended": each.state, "remark": each.remark, "best": each.best}
        | (each.rows[-1] if each.rows else {})
        for each in found
    ]
    with files[0].open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if any(each.rows for each in found):
        files.append(_curves(study, found, folder / "curves.png"))
    if (key := _axis(study, found)) is not None:
        files.append(_over(study, found, key, folder / f"{key.replace('.', '-')}.png"))
    if len(study.sweep.varied) > 1 and len([each for each in found if each.state == "finished"]) > 3:
        files.append(_importance(study, folder / "importance.png"))
    return files


def _axis(study: Study, found: Sequence[Result]) -> str | None:
    """The parameter to draw over: the one that took the most different numbers."""
    varied = study.sweep.varied
    taken = {key: {each.values[key] for each in found if _is_number(each.values[key])} for key in varied}
    key = max(varied, key=lambda key: len(taken[key]), default=None)
    return key if key is not None and len(taken[key]) > 1 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _over(study: Study, found: Sequence[Result], key: str, file: Path) -> Path:
    """The metric and the last test loss over a parameter, a line for each combination of the others."""
    metric = study.sweep.metric
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 2))
    lines: dict[str, list[Result]] = {}
    for each in found:
        if _is_number(each.values[key]):
            name = ", ".join(str(value) for other, value in each.values.items() if other != key)
            lines.setdefault(name, []).append(each)
    numbers = [each.values[key] for each in itertools.chain(*lines.values())]
    for axes, title in zip(panels, (f"best {metric.name}", "test/loss at the end"), strict=True):
        if min(numbers) > 0 and max(numbers) >= 20 * min(numbers):
            axes.set_xscale("log")
        for number, (name, own) in enumerate(lines.items()):
            colour = COLOURS[number % len(COLOURS)]
            points = [(each.values[key], each.best if axes is panels[0] else each.last("test/loss")) for each in own]
            known = sorted((x, y) for x, y in points if y is not None and y == y)
            axes.plot(*zip(*known, strict=True) if known else ([], []), "o-", color=colour, label=name or None)
            for each in own:
                if each.diverged:  # at the upper edge for a loss, the lower one for a share
                    edge = 0.97 - 0.05 * number if axes is panels[1] or not metric.maximize else 0.03 + 0.05 * number
                    axes.plot([each.values[key]], [edge], "x", color=colour, ms=9, mew=2, transform=axes.get_xaxis_transform())
        if axes is panels[1]:
            _wide(axes)
        axes.set_xlabel(key)
        axes.set_title(title + (" (crosses: diverged)" if any(each.diverged for each in found) else ""), fontsize=10)
        axes.grid(alpha=0.3)
    if any(lines):
        panels[0].legend(fontsize=9)
    figure.savefig(file, dpi=110)
    return file


def _curves(study: Study, found: Sequence[Result], file: Path) -> Path:
    """The metric and the test loss of all trials over the epochs."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), (study.sweep.metric.name, "test/loss"), strict=True):
        for number, each in enumerate(each for each in found if each.rows):
            points = [(row["epoch"], row[name]) for row in each.rows if name in row]
            label = " ".join(str(value) for value in each.values.values()) + (" diverged" if each.diverged else "")
            colour, style = COLOURS[number % len(COLOURS)], ("-", "--", ":", "-.")[number // len(COLOURS) % 4]
            axes.plot(*zip(*points, strict=True) if points else ([], []), style, color=colour, marker=".", label=label)
        if name.endswith("loss"):
            _wide(axes)
        axes.set_xlabel("epoch")
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(file, dpi=110)
    return file


def _wide(axes: Axes) -> None:
    """A logarithmic axis for values that span more than a factor of 20, as losses do before they diverge."""
    values = [y for line in axes.lines if line.get_marker() != "x" for y in np.asarray(line.get_ydata()) if y > 0]
    if values and max(values) > 20 * min(values):
        axes.set_yscale("log")


def _importance(study: Study, file: Path) -> Path:
    """How much of the metric's spread each parameter explains among the best trials (PED-ANOVA, Watanabe et al. 2023)."""
    shares = optuna.importance.get_param_importances(study.optuna, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    figure = Figure(figsize=(6, 0.6 + 0.4 * len(shares)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares)[::-1], list(shares.values())[::-1], color=COLOURS[0])
    axes.set_title(f"importance for {study.sweep.metric.name} (PED-ANOVA)", fontsize=10)
    figure.savefig(file, dpi=110)
    return file
