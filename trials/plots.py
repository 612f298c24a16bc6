"""Pictures of a sweep: the metric over the parameter that varies most, over the epochs, and what each parameter explains."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from configs.files import atomic_write
from trials.report import Result
from trials.study import Study
from viz_callbacks.drawing import palette

LINE_STYLES = ("-", "--", ":", "-.")
COLOURS = (
    palette.BLUE, palette.VERMILLION, palette.BLUISH_GREEN, palette.REDDISH_PURPLE, palette.ORANGE, palette.SKY_BLUE,
    palette.BLACK,
)  # fmt: skip

Groups = dict[str, list[Result]]
"""Trials that differ in one parameter alone, in its order, by the values of the other parameters."""


def write_plots(study: Study, results: Sequence[Result], folder: Path) -> list[Path]:
    """Write the pictures that the results allow. Returns their files."""
    files = []
    key = _most_varied(study, results)
    if any(result.rows for result in results):
        files.append(_plot_curves(study, results, key, folder / "curves.png"))
    if key is not None:
        files.append(_plot_metric_vs_parameter(study, results, key, folder / f"{key.replace('.', '-')}.png"))
    if len(study.sweep.varied) > 1 and sum(result.state == "finished" for result in results) > 3:
        files.append(_plot_importance(study, folder / "importance.png"))
    return files


def _most_varied(study: Study, results: Sequence[Result]) -> str | None:
    """Return the parameter that took the most different numbers, None where none took two."""
    varied = study.sweep.varied
    numbers = {key: {result.values[key] for result in results if _is_number(result.values[key])} for key in varied}
    key = max(varied, key=lambda key: len(numbers[key]), default=None)
    return key if key is not None and len(numbers[key]) > 1 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _group_by_others(results: Sequence[Result], key: str | None) -> Groups:
    groups: Groups = {}
    for result in results:
        if key is None or _is_number(result.values[key]):
            name = ", ".join(str(value) for other, value in result.values.items() if other != key)
            groups.setdefault(name, []).append(result)
    return {name: sorted(group, key=lambda result: result.values[key] if key else 0) for name, group in groups.items()}


def _plot_metric_vs_parameter(study: Study, results: Sequence[Result], key: str, file: Path) -> Path:
    """Draw the metric and the last test loss over a parameter, a line for each combination of the others."""
    metric = study.sweep.metric
    best = {result.number: result.best for result in results}
    last_loss = {result.number: result.last("test/loss") for result in results}
    groups = _group_by_others(results, key)
    numbers = [result.values[key] for result in itertools.chain(*groups.values())]
    notes = {"diverged": "crosses: diverged", "stopped": "rings: stopped early"}
    legend = ", ".join(note for state, note in notes.items() if any(result.state == state for result in results))
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    metric_axes, loss_axes = figure.subplots(1, 2)
    for axes, title, values, bad_at_top in (
        (metric_axes, f"best {metric.name}", best, not metric.maximize),
        (loss_axes, "test/loss at the end", last_loss, True),
    ):
        if min(numbers) > 0 and max(numbers) >= 20 * min(numbers):
            axes.set_xscale("log")
        for index, (name, group) in enumerate(groups.items()):
            colour = COLOURS[index % len(COLOURS)]
            _draw_line(axes, [(result.values[key], values[result.number], result.state) for result in group], colour, name)
            edge = 0.97 - 0.05 * index if bad_at_top else 0.03 + 0.05 * index
            for result in group:
                if result.state == "diverged":
                    transform = axes.get_xaxis_transform()
                    axes.plot([result.values[key]], [edge], "x", color=colour, ms=9, mew=2, transform=transform)
        if axes is loss_axes:
            _log_scale_if_wide(axes)
        axes.set_xlabel(key)
        axes.set_title(title + (f" ({legend})" if legend else ""), fontsize=10)
        axes.grid(alpha=0.3)
    if any(groups):
        metric_axes.legend(fontsize=9)
    return _save(figure, file)


def _draw_line(axes: Axes, points: Sequence[tuple[float, float | None, str]], colour: str, name: str) -> None:
    """Draw a line through points (x, y or None, the trial's state), with rings where a trial was stopped early."""
    known = [(x, y, state) for x, y, state in points if y is not None and not np.isnan(y)]
    axes.plot([x for x, _, _ in known], [y for _, y, _ in known], "o-", color=colour, label=name or None)
    for x, y, state in known:
        if state == "stopped":
            axes.plot([x], [y], "o", color=colour, mfc="white", zorder=3)


def _plot_curves(study: Study, results: Sequence[Result], key: str | None, file: Path) -> Path:
    """Draw the metric and the test loss of all trials by epoch: dark to light over ``key``, a line style for the others."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    groups = _group_by_others(results, key)
    steps = sorted({result.values[key] for group in groups.values() for result in group}) if key else []
    metric_by_epoch = study.sweep.metric.name.removeprefix("final/")
    for axes, name in zip(figure.subplots(1, 2), (metric_by_epoch, "test/loss"), strict=True):
        for number, group in enumerate(groups.values()):
            for result in group:
                points = [(row["epoch"], row[name]) for row in result.rows if name in row]
                state = f" {result.state}" if result.state != "finished" else ""
                shade = 0.95 * steps.index(result.values[key]) / max(1, len(steps) - 1) if key else 0.0
                colour = colormaps["viridis"](shade) if key else COLOURS[number % len(COLOURS)]
                label = " ".join(str(value) for value in result.values.values()) + state
                style = LINE_STYLES[number % len(LINE_STYLES)] if key else "-"
                axes.plot(*zip(*points, strict=True) if points else ([], []), style, color=colour, marker=".", label=label)
        if name.endswith("loss"):
            _log_scale_if_wide(axes)
        axes.set_xlabel("epoch")
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return _save(figure, file)


def _log_scale_if_wide(axes: Axes) -> None:
    """Make the y axis logarithmic for values that span more than a factor of 20, as losses do before they diverge."""
    values = [y for line in axes.lines if line.get_marker() != "x" for y in np.asarray(line.get_ydata()) if y > 0]
    if values and max(values) > 20 * min(values):
        axes.set_yscale("log")


def _plot_importance(study: Study, file: Path) -> Path:
    """Draw how much of the metric's spread each parameter explains among the best trials (PED-ANOVA, Watanabe et al. 2023)."""
    shares = optuna.importance.get_param_importances(study.optuna, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    figure = Figure(figsize=(6, 0.6 + 0.4 * len(shares)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares)[::-1], list(shares.values())[::-1], color=COLOURS[0])
    axes.set_title(f"importance for {study.sweep.metric.name} (PED-ANOVA)", fontsize=10)
    return _save(figure, file)


def _save(figure: Figure, file: Path) -> Path:
    with atomic_write(file) as stream:
        figure.savefig(stream, format="png", dpi=110)
    return file
