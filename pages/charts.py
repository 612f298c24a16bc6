"""The page's charts as Altair objects: the same specification becomes a chart on the page, an SVG and a PNG.

Runs are told apart by colour and by dashes, after Okabe and Ito's palette. Charts over epochs have a parameter ``epoch``, which
the page's slider sets: a line marks it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert

from pages.run_data import Prediction, RunData
from pages.statistics import Bin, holm, mcnemar_mid_p, wilson

RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
PARTS = {"train": [2, 2], "val": [6, 3], "test": [1, 0]}
WIDTH, HEIGHT = 300, 220  # three beside each other on a page of 1,200 pixels
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
            dash = alt.StrokeDash("part:N", scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())), title="part")
            lines = _lines(points, words, labels, last, dash, percent=name != "loss")
            charts[name] = _with_epoch(lines, _stages(runs), last)
    for name, words in METRICS.items():
        points = [
            {"epoch": row["epoch"], "value": _round(value), "run": label, "layer": key.split("/")[1]}
            for run, label in zip(runs, labels, strict=True)
            for row in run.rows
            for key, value in row.items()
            if key.startswith(f"{name}/") and key.count("/") == 1
        ]
        if points:
            charts[f"metric-{name}"] = _with_epoch(_metric_lines(points, words, labels, last), [], last)
    return charts


def _lines(
    points: list[dict[str, Any]], words: str, labels: Sequence[str], last: int, dash: alt.StrokeDash, percent: bool
) -> alt.Chart:
    axis = alt.Axis(format="%") if percent else alt.Axis()
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=points))
        .mark_line(strokeWidth=2)
        .encode(
            x=_epoch_axis(last),
            y=alt.Y("value:Q", title=words, axis=axis, scale=alt.Scale(zero=percent)),
            color=_run_colour(labels),
            strokeDash=dash,
            tooltip=["run:N", "part:N", "epoch:Q", alt.Tooltip("value:Q", format=".2%" if percent else ".3f")],
        )
    )
    return chart


def _metric_lines(points: list[dict[str, Any]], words: str, labels: Sequence[str], last: int) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=points))
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=15))
        .encode(
            x=_epoch_axis(last),
            y=alt.Y("value:Q", title=words, scale=alt.Scale(zero=False)),
            color=alt.Color("layer:N", scale=alt.Scale(scheme="viridis"), title="layer"),
            strokeDash=alt.StrokeDash("run:N", scale=alt.Scale(domain=list(labels), range=list(DASHES)), title="run"),
            tooltip=["run:N", "layer:N", "epoch:Q", alt.Tooltip("value:Q", format=".3g")],
        )
    )
    return chart


def _epoch_axis(last: int) -> alt.X:
    """Return the axis of epochs, with whole numbers."""
    step = -(-last // 12)
    ticks = [each for each in range(1, last + 1) if each % step == 0]
    return alt.X("epoch:Q", scale=alt.Scale(domain=[1, max(2, last)]), axis=alt.Axis(values=ticks, format="d"))


def _run_colour(labels: Sequence[str]) -> alt.Color:
    return alt.Color("run:N", scale=alt.Scale(domain=list(labels), range=list(RUN_COLOURS)), title="run")


def _with_epoch(lines: alt.Chart, stages: list[dict[str, Any]], last: int) -> Chart:
    epoch = alt.param(name="epoch", value=last)
    now = (
        alt.Chart(alt.InlineData(values=[{"at": each} for each in range(1, last + 1)]))
        .mark_rule(strokeWidth=2, color="#888")
        .encode(x=alt.X("at:Q", title="epoch"))
        .transform_filter("datum.at == epoch")
    )
    marks = alt.Chart(alt.InlineData(values=stages)).encode(x=alt.X("at:Q", title="epoch"))
    rules = marks.mark_rule(strokeDash=[3, 3], color="#999")
    words = marks.mark_text(align="left", dx=3, y=8, fontSize=10).encode(text="words:N")
    layers: list[alt.Chart] = [lines, now, *([rules, words] if stages else [])]
    return alt.layer(*layers).add_params(epoch).properties(width=WIDTH, height=HEIGHT)


def _stages(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """Return the epochs at which the recipe changes: another size of the images, the end of CutMix. Of the first run."""
    if not runs:
        return []
    data, epochs = runs[0].settings["data"], runs[0].max_epochs
    sizes = data.get("train_sizes") or []
    stages = [
        {"at": epochs * number / len(sizes) + 1, "words": f"{size} px"} for number, size in enumerate(sizes) if len(sizes) > 1
    ]
    if data.get("cutmix"):
        stages.append({"at": epochs * 7 / 8 + 1, "words": "no CutMix"})
    return stages


def per_class_rows(first: Sequence[Prediction], second: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return each class with both accuracies, sorted by their difference.

    ``band`` is what 95 % of the differences would stay below if both networks were equally good: 1.96 times the square root of
    the class's discordant images, over all of its images. ``p`` is McNemar's mid-p, adjusted for the number of classes.
    """
    pairs_of: dict[str, list[tuple[bool, bool]]] = {}
    for a, b in zip(first, second, strict=True):
        pairs_of.setdefault(a.true, []).append((a.right, b.right))
    rows, p_values = list[dict[str, Any]](), list[float]()
    for name, pairs in sorted(pairs_of.items()):
        images = len(pairs)
        only_first, only_second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
        p_values.append(mcnemar_mid_p(only_first, only_second))
        rows.append(
            {
                "class": name, "images": images, "difference": (only_second - only_first) / images,
                "band": 1.96 * (only_first + only_second) ** 0.5 / images,
                "first": wilson(sum(a for a, _ in pairs), images), "second": wilson(sum(b for _, b in pairs), images),
            }
        )  # fmt: skip
    for row, p_value in zip(rows, holm(np.array(p_values)), strict=True):
        row["p"] = float(p_value)
    return sorted(rows, key=lambda row: float(row["difference"]))


def per_class_chart(rows: Sequence[dict[str, Any]]) -> Chart:
    """Draw each class's difference beside its noise band."""
    values = [{key: row[key] for key in ("class", "images", "difference", "band")} | {"low": -row["band"]} for row in rows]
    base = alt.Chart(alt.InlineData(values=values)).encode(y=alt.Y("class:N", sort=None, title=None))
    noise = base.mark_bar(color="#bbb", opacity=0.6).encode(x="low:Q", x2="band:Q")
    points = base.mark_point(filled=True, size=50, color=RUN_COLOURS[1]).encode(
        x=alt.X("difference:Q", title="accuracy of the second minus the first", axis=alt.Axis(format="+%")),
        tooltip=["class:N", "images:Q", alt.Tooltip("difference:Q", format="+.1%")],
    )
    return alt.layer(noise, points).properties(width=WIDTH, height=alt.Step(14))


def calibration_chart(bins: dict[str, list[Bin]]) -> Chart:
    """Draw accuracy over confidence with intervals, for each run."""
    values = [
        {"run": label, "confidence": each.confidence, "accuracy": each.accuracy.value, "low": each.accuracy.low,
         "high": each.accuracy.high, "images": each.images}
        for label, of_run in bins.items()
        for each in of_run
    ]  # fmt: skip
    ideal = alt.Chart(alt.InlineData(values=[{"c": 0, "a": 0}, {"c": 1, "a": 1}])).mark_line(color="#999", strokeDash=[4, 4])
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("confidence:Q", axis=alt.Axis(format="%"), title="mean confidence"), color=_run_colour(list(bins))
    )
    bars = base.mark_rule().encode(y=alt.Y("low:Q", title="accuracy", axis=alt.Axis(format="%")), y2="high:Q")
    points = base.mark_point(filled=True, size=60).encode(y="accuracy:Q", shape="run:N", tooltip=["run:N", "images:Q"])
    return alt.layer(ideal.encode(x="c:Q", y="a:Q"), bars, points).properties(width=WIDTH, height=HEIGHT)


def confusion_chart(predictions: Sequence[Prediction], label: str) -> Chart:
    """Draw the confusion matrix; empty cells are left out."""
    counts: dict[tuple[str, str], int] = {}
    for each in predictions:
        counts[each.true, each.predicted] = counts.get((each.true, each.predicted), 0) + 1
    totals = Counter(each.true for each in predictions)
    scale = alt.Scale(scheme="cividis", domain=[0, 1])
    return _matrix(counts, totals, f"{label}: share of each class's test images", scale, "%")


def confusion_difference_chart(first: Sequence[Prediction], second: Sequence[Prediction], labels: tuple[str, str]) -> Chart:
    """Draw the second confusion matrix minus the first, of the same images; cells where both are equal are left out."""
    gained: dict[tuple[str, str], int] = {}
    totals: dict[str, int] = {}
    for a, b in zip(first, second, strict=True):
        totals[a.true] = totals.get(a.true, 0) + 1
        gained[b.true, b.predicted] = gained.get((b.true, b.predicted), 0) + 1
        gained[a.true, a.predicted] = gained.get((a.true, a.predicted), 0) - 1
    limit = max((abs(count) / totals[true] for (true, _), count in gained.items()), default=0) or 1
    scale = alt.Scale(scheme="blueorange", domain=[-limit, limit])
    return _matrix(gained, totals, f"{labels[1]} minus {labels[0]}: share of each class's test images", scale, "+%")


def _matrix(
    counts: Mapping[tuple[str, str], int], totals: Mapping[str, int], title: str, scale: alt.Scale, percent: str
) -> Chart:
    """Draw counts of (true, predicted) classes as shares of each true class; what is 0 is left out."""
    classes = sorted({name for pair in counts for name in pair})
    values = [
        {"true": true, "predicted": predicted, "images": count, "share": round(count / totals[true], 4)}
        for (true, predicted), count in counts.items()
        if count
    ]
    step = alt.Step(20 if len(classes) < 30 else 9)
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=values), title=title)
        .mark_rect()
        .encode(
            x=alt.X("predicted:N", scale=alt.Scale(domain=classes)),
            y=alt.Y("true:N", scale=alt.Scale(domain=classes)),
            color=alt.Color("share:Q", scale=scale, legend=alt.Legend(format=percent)),
            tooltip=["true:N", "predicted:N", "images:Q", alt.Tooltip("share:Q", format=percent.replace("%", ".0%"))],
        )
        .properties(width=step, height=step)
    )
    return chart


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
