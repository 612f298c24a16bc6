"""The charts of a sweep: its metric, accuracy and loss over the parameter that varies most, and the curves of all trials."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from pages.charts import HEIGHT, RUN_COLOURS, WIDTH, Chart
from pages.sweep_data import Trial

DIMMED = 0.2
WIDE = 20  # parameters and losses that span such a factor have a logarithmic axis


def sweep_charts(trials: Sequence[Trial], metric: str, best: Trial | None) -> dict[str, Chart]:
    """Draw what the trials allow, by name: ``over-*`` over the parameter, ``curve-*`` over the epochs."""
    charts: dict[str, Chart] = {}
    key = most_varied(trials)
    if key is not None:
        for column, words in {"best": f"best {metric}", "test/accuracy": "test accuracy", "test/loss": "test loss"}.items():
            if any(column in trial.figures for trial in trials):
                charts[f"over-{column.replace('/', '-')}"] = _over_parameter(trials, key, column, words)
    names = dict.fromkeys([metric.removeprefix("final/"), "test/accuracy", "test/loss"])
    for name in names:
        if any(name in row for trial in trials for row in trial.rows):
            charts[f"curve-{name.replace('/', '-')}"] = _curves(trials, key, name, best)
    return charts


def most_varied(trials: Sequence[Trial]) -> str | None:
    """Return the parameter that took the most different values, numbers before words; None where none took two."""
    taken: dict[str, set[Any]] = {}
    for trial in trials:
        for name, value in trial.values.items():
            taken.setdefault(name, set()).add(value)
    several = {name: values for name, values in taken.items() if len(values) > 1}
    return max(several, key=lambda name: (_numeric(several[name]), len(several[name])), default=None)


def _numeric(values: Any) -> bool:
    return all(isinstance(value, float) for value in values)


def _over_parameter(trials: Sequence[Trial], key: str, column: str, words: str) -> Chart:
    """Draw a figure of each trial; diverged ones are crosses at the edge, since their last figure says nothing."""
    values = [
        {
            "trial": trial.number, "at": trial.values[key], "value": trial.figures.get(column), "ended": trial.ended,
            "others": _others(trial, key), "href": trial.page,
        }
        for trial in trials
    ]  # fmt: skip
    diverged = [each for each in values if each["ended"] == "diverged"]
    measured = [each for each in values if each["ended"] != "diverged" and each["value"] is not None]
    groups = list(dict.fromkeys(str(each["others"]) for each in values))
    colour = alt.Color("others:N", scale=alt.Scale(domain=groups, range=_repeated(RUN_COLOURS, len(groups))), title=None)
    if len(groups) == 1:
        colour = alt.Color("others:N", scale=alt.Scale(domain=groups, range=[RUN_COLOURS[0]]), legend=None)
    y = alt.Y("value:Q", title=words, scale=_scale([each["value"] for each in measured], zero=False))
    tooltip = ["trial:Q", alt.Tooltip("at:N", title=key), "others:N", "ended:N", alt.Tooltip("value:Q", format=".4g")]
    base = alt.Chart(alt.InlineData(values=measured)).encode(x=_x(trials, key), y=y, color=colour)
    lines = base.mark_line()
    endings = list(dict.fromkeys(each["ended"] for each in measured))
    points = base.mark_point(filled=True, size=60).encode(
        shape=alt.Shape("ended:N", scale=alt.Scale(domain=endings), title="ended"),
        tooltip=tooltip, href="href:N",
    )  # fmt: skip
    bad = HEIGHT - 6 if column != "test/loss" else 6
    crosses = (
        alt.Chart(alt.InlineData(values=diverged))
        .mark_point(shape="cross", angle=45, size=90, filled=True)
        .encode(x=_x(trials, key), y=alt.value(bad), color=colour, tooltip=tooltip[:4], href="href:N")
    )
    return alt.layer(lines, points, *([crosses] if diverged else [])).properties(width=WIDTH, height=HEIGHT)


def _curves(trials: Sequence[Trial], key: str | None, name: str, best: Trial | None) -> Chart:
    """Draw all trials by epoch, dimmed but for the best, the one pointed at, and that of the table's row (``trial``)."""
    values = [
        {
            "trial": trial.number, "epoch": row["epoch"], "value": row[name], "best": trial is best, "href": trial.page,
            "words": ", ".join(f"{each}={_text(value)}" for each, value in trial.values.items()), "ended": trial.ended,
            "at": trial.values[key] if key else "",
        }
        for trial in trials
        for row in trial.rows
        if name in row
    ]  # fmt: skip
    row = alt.param(name="trial", value=-1)
    pointed = alt.selection_point(name="pointed", fields=["trial"], on="pointerover", nearest=True, empty=False)
    lit = alt.when(pointed).then(alt.value(1)).when("datum.best || datum.trial == trial").then(alt.value(1))
    epochs = sorted({int(each["epoch"]) for each in values})
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("epoch:Q", axis=alt.Axis(values=epochs[:: -(-len(epochs) // 12)], format="d")),
        y=alt.Y("value:Q", title=name, scale=_scale([each["value"] for each in values], zero=False)),
        color=_colour(trials, key),
        detail="trial:N",
        opacity=lit.otherwise(alt.value(DIMMED)),
    )
    points = base.mark_point(filled=True, size=40).encode(
        tooltip=["trial:Q", "words:N", "ended:N", "epoch:Q", alt.Tooltip("value:Q", format=".4g")], href="href:N"
    )
    lines = base.mark_line(strokeWidth=2)
    return alt.layer(lines, points.add_params(pointed)).add_params(row).properties(width=WIDTH, height=HEIGHT)


def _x(trials: Sequence[Trial], key: str) -> alt.X:
    values = [trial.values[key] for trial in trials]
    if not _numeric(values):
        return alt.X("at:N", title=key)
    return alt.X("at:Q", title=key, scale=_scale(values), axis=alt.Axis(values=sorted(set(values)), labelOverlap=True))


def _colour(trials: Sequence[Trial], key: str | None) -> alt.Color:
    values = [trial.values[key] for trial in trials] if key else []
    if key and _numeric(values):
        return alt.Color("at:O", scale=alt.Scale(scheme="viridis"), title=key, legend=alt.Legend(columns=5))
    return alt.Color("at:N", title=key or "")


def _scale(values: Sequence[Any], zero: bool = False) -> alt.Scale:
    known = [value for value in values if value is not None]
    if known and min(known) > 0 and max(known) >= WIDE * min(known):
        return alt.Scale(type="log")
    return alt.Scale(zero=zero)


def _others(trial: Trial, key: str) -> str:
    return ", ".join(_text(value) for name, value in trial.values.items() if name != key)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _repeated(colours: Sequence[str], count: int) -> list[str]:
    return [colours[number % len(colours)] for number in range(count)]
