"""What came out of a sweep: a table, and pictures over the parameter that matters and over the epochs."""

import csv
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from scipy import stats

from experiment.run_folder import read_rows
from trials.study import Study
from viz_callbacks.drawing import palette

STYLES = ("-", "--", ":", "-.")
COLOURS = (
    palette.BLUE, palette.VERMILLION, palette.BLUISH_GREEN, palette.REDDISH_PURPLE, palette.ORANGE, palette.SKY_BLUE,
    palette.BLACK,
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One trial: its number, how it ended, the values of the varied parameters, its rows and the metric's best value.

    final: what the evaluation at the end gave (final/test/accuracy ...).
    """

    number: int
    state: str
    values: dict[str, Any]
    rows: list[dict[str, float]]
    final: dict[str, float]
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
    found = []
    for trial in study.trials:
        if trial.state == TrialState.WAITING:
            continue
        folder = Path(trial.user_attrs.get("folder", ""))
        metrics, end = folder / "metrics.csv", folder / "summary.json"
        rows = read_rows(metrics) if metrics.is_file() else []
        summary: dict[str, Any] = json.loads(end.read_text()) if end.is_file() else {}
        final = {name: value for name, value in summary.items() if name.startswith("final/")}
        best = study.sweep.metric.reached(rows, summary)
        values = {key: trial.user_attrs.get("values", {}).get(key) for key in study.sweep.varied}
        state, remark = _ending(trial)
        found.append(Result(trial.number, state, values, rows, final, best, remark))
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


def seed_means(study: Study, found: Sequence[Result]) -> Table | None:
    """Means over the seeds, with Student's 95 % interval of the mean, for each combination of the other parameters.

    Trials that didn't finish are left out and counted. None where ``seed`` isn't varied.
    """
    varied, metric = study.sweep.varied, study.sweep.metric.name
    if "seed" not in varied:
        return None
    others = [key for key in varied if key != "seed"]
    made = Table(*others, f"mean {metric}", "95 % interval", "seeds", "not finished")
    groups: dict[tuple[str, ...], list[Result]] = {}
    for each in found:
        groups.setdefault(tuple(str(each.values[key]) for key in others), []).append(each)
    for key, own in groups.items():
        values = [each.best for each in own if each.state == "finished" and each.best is not None]
        words = ["", ""]
        if values:
            words[0] = f"{np.mean(values):.4g}"
        if len(values) > 1:
            half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
            words[1] = f"{np.mean(values) - half:.4g} to {np.mean(values) + half:.4g}"
        made.add_row(*key, *words, str(len(values)), str(len(own) - len(values)))
    return made


def write(study: Study, found: Sequence[Result], folder: Path) -> list[Path]:
    """Write ``trials.csv``: the metric's best value, figures of the last epoch and of the end; and the pictures.

    Returns the files.
    """
    files = [folder / "trials.csv"]
    rows = [
        {"trial": each.number, **each.values, "ended": each.state, "remark": each.remark, "best": each.best}
        | (each.rows[-1] if each.rows else {})
        | each.final
        for each in found
    ]
    with files[0].open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    key = _axis(study, found)
    if any(each.rows for each in found):
        files.append(_curves(study, found, key, folder / "curves.png"))
    if key is not None:
        files.append(_plot_metric_vs_parameter(study, found, key, folder / f"{key.replace('.', '-')}.png"))
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


def _families(study: Study, found: Sequence[Result], key: str | None) -> dict[str, list[Result]]:
    """The trials that differ in ``key`` alone, in its order, by the values of the other parameters."""
    families: dict[str, list[Result]] = {}
    for each in found:
        if key is None or _is_number(each.values[key]):
            name = ", ".join(str(value) for other, value in each.values.items() if other != key)
            families.setdefault(name, []).append(each)
    return {name: sorted(own, key=lambda each: each.values[key] if key else 0) for name, own in families.items()}


def _plot_metric_vs_parameter(study: Study, found: Sequence[Result], key: str, file: Path) -> Path:
    """The metric and the last test loss over a parameter, a line for each combination of the others."""
    metric = study.sweep.metric
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 2))
    families = _families(study, found, key)
    numbers = [each.values[key] for each in itertools.chain(*families.values())]
    signs = {"diverged": "crosses: diverged", "stopped": "rings: stopped early"}
    ends = [words for state, words in signs.items() if any(each.state == state for each in found)]
    for axes, title in zip(panels, (f"best {metric.name}", "test/loss at the end"), strict=True):
        if min(numbers) > 0 and max(numbers) >= 20 * min(numbers):
            axes.set_xscale("log")
        for number, (name, own) in enumerate(families.items()):
            colour = COLOURS[number % len(COLOURS)]
            points = [(each.values[key], each.best if axes is panels[0] else each.last("test/loss"), each) for each in own]
            known = [(x, y, each) for x, y, each in points if y is not None and y == y]
            axes.plot([x for x, _, _ in known], [y for _, y, _ in known], "o-", color=colour, label=name or None)
            for x, y, each in known:
                if each.state == "stopped":
                    axes.plot([x], [y], "o", color=colour, mfc="white", zorder=3)
            for each in own:
                if each.diverged:  # at the upper edge for a loss, the lower one for a share
                    edge = 0.97 - 0.05 * number if axes is panels[1] or not metric.maximize else 0.03 + 0.05 * number
                    axes.plot([each.values[key]], [edge], "x", color=colour, ms=9, mew=2, transform=axes.get_xaxis_transform())
        if axes is panels[1]:
            _log_scale_if_wide(axes)
        axes.set_xlabel(key)
        axes.set_title(title + (f" ({', '.join(ends)})" if ends else ""), fontsize=10)
        axes.grid(alpha=0.3)
    if any(families):
        panels[0].legend(fontsize=9)
    figure.savefig(file, dpi=110)
    return file


def _curves(study: Study, found: Sequence[Result], key: str | None, file: Path) -> Path:
    """The metric and the test loss of all trials over the epochs: dark to light over ``key``, a kind of line for the others."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    families = _families(study, found, key)
    steps = sorted({each.values[key] for own in families.values() for each in own}) if key else []
    for axes, name in zip(figure.subplots(1, 2), (_by_epoch(study), "test/loss"), strict=True):
        for number, own in enumerate(families.values()):
            for each in own:
                points = [(row["epoch"], row[name]) for row in each.rows if name in row]
                ended = f" {each.state}" if each.state != "finished" else ""
                shade = 0.95 * steps.index(each.values[key]) / max(1, len(steps) - 1) if key else 0.0
                colour = colormaps["viridis"](shade) if key else COLOURS[number % len(COLOURS)]
                label = " ".join(str(value) for value in each.values.values()) + ended
                style = STYLES[number % len(STYLES)] if key else "-"
                axes.plot(*zip(*points, strict=True) if points else ([], []), style, color=colour, marker=".", label=label)
        if name.endswith("loss"):
            _log_scale_if_wide(axes)
        axes.set_xlabel("epoch")
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(file, dpi=110)
    return file


def _by_epoch(study: Study) -> str:
    """The metric, or that of its kind that is known after each epoch."""
    return study.sweep.metric.name.removeprefix("final/")


def _log_scale_if_wide(axes: Axes) -> None:
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
