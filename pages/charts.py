"""The page's charts as Altair objects: the same specification becomes a chart on the page, an SVG and a PNG.

Runs are told apart by colour and by dashes, after Okabe and Ito's palette. Charts over epochs have a parameter ``epoch``, which
the page's slider sets: a line marks it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from pages.run_data import RunData

RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
PARTS = {"train": [2, 2], "val": [6, 3], "test": [1, 0]}
WIDTH, HEIGHT = 300, 220  # three beside each other on a page of 1,200 pixels
STAGE_ROWS = (-3, -15)  # pixels above a chart: stages that follow each other closely have their words in turn in two rows
PRIMARY = {"loss": "cross-entropy (nats)", "accuracy": "top-1 accuracy", "mean_per_class": "mean accuracy of the classes"}
METRICS = {
    "learned": "distance of the filters from their start", "effective_rank": "effective rank of the filters",
    "dead": "dead maps", "detail": "edges kept, correlation with the image's", "inside": "share of energy on the object",
    "grid2": "block artefacts at 2 pixels", "grid4": "block artefacts at 4 pixels", "change": "change since the look before",
}  # fmt: skip

Chart = alt.LayerChart | alt.Chart | alt.FacetChart | alt.HConcatChart


def epoch_charts(runs: Sequence[RunData], labels: Sequence[str]) -> dict[str, Chart]:
    """Draw loss and accuracy over the epochs, as the report's Figures 6 to 8, and the metrics beside the pictures."""
    charts: dict[str, Chart] = {}
    last = max((run.max_epochs for run in runs), default=1)
    for name, words in PRIMARY.items():
        points = [
            {"epoch": row["epoch"], "value": _round(row[f"{part}/{name}"]), "run": label, "part": part}
            for run, label in zip(runs, labels, strict=True)
            for row in run.rows
            for part in PARTS
            if f"{part}/{name}" in row
        ]
        if points:
            parts = {part: dash for part, dash in PARTS.items() if any(each["part"] == part for each in points)}
            dash = alt.StrokeDash("part:N", scale=alt.Scale(domain=list(parts), range=list(parts.values())), title="part")
            lines = _lines(points, words, labels, last, dash, percent=name != "loss")
            charts[name] = _with_epoch(lines, stages_of(runs[0]), last)
    layers = layers_of(runs)
    for name, words in METRICS.items():
        points = [
            {"epoch": row["epoch"], "value": _round(value), "run": label, "layer": key.split("/")[1]}
            for run, label in zip(runs, labels, strict=True)
            for row in run.rows
            for key, value in row.items()
            if key.startswith(f"{name}/") and key.count("/") == 1
        ]
        if points:
            charts[f"metric-{name}"] = _with_epoch(_metric_lines(points, labels, layers, last), [], last, words)
    return charts


def _lines(
    points: list[dict[str, Any]], words: str, labels: Sequence[str], last: int, dash: alt.StrokeDash, percent: bool
) -> list[alt.Chart]:
    axis = alt.Axis(format="%") if percent else alt.Axis()
    chart = (
        alt.Chart(_as_text(points))
        .mark_line(strokeWidth=2)
        .encode(
            x=_epoch_axis(last),
            y=alt.Y("value:Q", title=words, axis=axis, scale=alt.Scale(zero=percent)),
            color=run_colour(labels),
            strokeDash=dash,
            tooltip=["run:N", "part:N", "epoch:Q", alt.Tooltip("value:Q", format=".2%" if percent else ".3f")],
        )
    )
    return [chart]


def _as_text(points: list[dict[str, Any]]) -> alt.InlineData:
    """Return data as JSON. Of a list Altair copies every value each time that one chart is made of another."""
    return alt.InlineData(values=json.dumps(points), format=alt.JsonDataFormat(type="json"))


def layers_of(runs: Sequence[RunData]) -> list[str]:
    """Return what metrics have a line for, in one order for all of them: a layer has one colour throughout."""
    names = [
        key.split("/") for metric in METRICS for run in runs for row in run.rows for key in row if key.startswith(f"{metric}/")
    ]
    return list(dict.fromkeys(parts[1] for parts in names if len(parts) == 2))


def _metric_lines(points: list[dict[str, Any]], labels: Sequence[str], layers: list[str], last: int) -> list[alt.Chart]:
    here = {each["layer"] for each in points}
    legend = alt.Legend(columns=4, values=[layer for layer in layers if layer in here])
    base = alt.Chart(_as_text(points)).encode(
        x=_epoch_axis(last),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        color=alt.Color("layer:N", scale=alt.Scale(domain=layers, scheme="viridis"), title="layer", legend=legend),
        tooltip=["run:N", "layer:N", "epoch:Q", alt.Tooltip("value:Q", format=".3g")],
    )
    dash = alt.StrokeDash("run:N", scale=alt.Scale(domain=list(labels), range=list(DASHES)), title="run")
    return [base.mark_line(strokeWidth=2).encode(strokeDash=dash), base.mark_point(filled=True, size=15, opacity=1)]


def _epoch_axis(last: int) -> alt.X:
    """Return the axis of epochs, with whole numbers."""
    step = -(-last // 12)
    ticks = [each for each in range(1, last + 1) if each % step == 0]
    return alt.X("epoch:Q", scale=alt.Scale(domain=[1, max(2, last)]), axis=alt.Axis(values=ticks, format="d"))


def run_colour(labels: Sequence[str]) -> alt.Color:
    """Return the colours of runs, the same in all charts."""
    return alt.Color("run:N", scale=alt.Scale(domain=list(labels), range=list(RUN_COLOURS)), title="run")


def _with_epoch(lines: Sequence[alt.Chart], stages: list[dict[str, Any]], last: int, title: str = "") -> Chart:
    epoch = alt.param(name="epoch", value=last)
    now = (
        alt.Chart(alt.InlineData(values=[{"at": each} for each in range(1, last + 1)]))
        .mark_rule(strokeWidth=2, color="#888")
        .encode(x=alt.X("at:Q", title="epoch"))
        .transform_filter("datum.at == epoch")
    )
    layers: list[alt.Chart] = [*lines, now]
    if stages:
        for row, height in enumerate(STAGE_ROWS):
            of_row = alt.Chart(alt.InlineData(values=stages[row :: len(STAGE_ROWS)])).encode(x=alt.X("at:Q", title="epoch"))
            layers.append(of_row.mark_rule(strokeDash=[3, 3], color="#999", y=height - 10, y2=HEIGHT))
            words = of_row.mark_text(align="left", baseline="bottom", dx=3, y=height, fontSize=10)
            layers.append(words.encode(text="words:N"))
    chart: Chart = alt.layer(*layers).add_params(epoch).properties(width=WIDTH, height=HEIGHT)
    return chart.properties(title=alt.TitleParams(title, anchor="start", fontSize=12)) if title else chart


def stages_of(run: RunData) -> list[dict[str, Any]]:
    """Return the first epochs of the stages of a recipe, in their order: other sizes of the images, the end of CutMix."""
    data, epochs = run.settings["data"], run.max_epochs
    sizes = data.get("train_sizes") or []
    words: dict[int, list[str]] = {}
    if len(sizes) > 1:
        for number, size in enumerate(sizes):
            words.setdefault(-(-epochs * number // len(sizes)) + 1, []).append(f"{size} px")
    if data.get("cutmix"):
        words.setdefault(-(-epochs * 7 // 8) + 1, []).append("no CutMix")
    return [{"at": at, "words": ", ".join(words[at])} for at in sorted(words) if at <= epochs]


def beside(charts: Sequence[Chart]) -> Chart:
    """Put charts beside each other, as one picture."""
    chart: alt.HConcatChart = alt.hconcat(*charts)
    return chart


def save_charts(charts: dict[str, Chart], folder: Path) -> list[Path]:
    """Write each chart as SVG and as PNG. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, chart in charts.items():
        spec = chart.to_json()
        for suffix, content in (
            ("svg", vl_convert.vegalite_to_svg(spec).encode()),
            ("png", vl_convert.vegalite_to_png(spec, scale=2)),
        ):
            files.append(folder / f"{name}.{suffix}")
            files[-1].write_bytes(content)
    return files


def _round(value: float) -> float:
    return float(f"{value:.5g}")
