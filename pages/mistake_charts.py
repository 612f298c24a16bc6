"""The charts of mistakes: accuracy by class, calibration, confusion matrices. They need the predictions of single images."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from pages.charts import HEIGHT, RUN_COLOURS, WIDTH, Chart, run_colour
from pages.run_data import Prediction
from pages.statistics import Bin, holm, mcnemar_mid_p, wilson


def class_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return each class with its number of test images, its accuracy and Wilson's interval, the lowest first."""
    images = Counter(each.true for each in predictions)
    right = Counter(each.true for each in predictions if each.right)
    rows = [{"class": name, "images": images[name], "accuracy": wilson(right[name], images[name])} for name in sorted(images)]
    return sorted(rows, key=lambda row: row["accuracy"].value)


def class_chart(rows: Sequence[dict[str, Any]], label: str) -> Chart:
    """Draw each class's accuracy with its interval, and a line at the accuracy over all images."""
    values = [
        {"class": row["class"], "images": row["images"], "accuracy": row["accuracy"].value, "low": row["accuracy"].low,
         "high": row["accuracy"].high}
        for row in rows
    ]  # fmt: skip
    overall = sum(each["accuracy"] * each["images"] for each in values) / sum(each["images"] for each in values)
    base = alt.Chart(alt.InlineData(values=values), title=label).encode(y=alt.Y("class:N", sort=None, title=None))
    axis = alt.X(
        "low:Q",
        title="accuracy, with its 95 % interval",
        axis=alt.Axis(format="%", orient="top"),
        scale=alt.Scale(domain=[0, 1]),
    )
    bars = base.mark_rule(strokeWidth=2, color="#999").encode(x=axis, x2="high:Q")
    points = base.mark_point(filled=True, size=50, opacity=1, color=RUN_COLOURS[0]).encode(
        x="accuracy:Q", tooltip=["class:N", "images:Q", alt.Tooltip("accuracy:Q", format=".1%")]
    )
    line = alt.Chart(alt.InlineData(values=[{"at": overall}])).mark_rule(strokeDash=[4, 4], color="#999").encode(x="at:Q")
    return alt.layer(bars, line, points).properties(width=WIDTH, height=alt.Step(14))


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


def per_class_chart(rows: Sequence[dict[str, Any]], labels: tuple[str, str]) -> Chart:
    """Draw each class's difference beside its noise band."""
    values = [{key: row[key] for key in ("class", "images", "difference", "band")} | {"low": -row["band"]} for row in rows]
    base = alt.Chart(alt.InlineData(values=values)).encode(y=alt.Y("class:N", sort=None, title=None))
    noise = base.mark_bar(color="#bbb", opacity=0.6).encode(x="low:Q", x2="band:Q")
    points = base.mark_point(filled=True, size=50, color=RUN_COLOURS[1]).encode(
        x=alt.X("difference:Q", title=f"accuracy of {labels[1]} minus {labels[0]}", axis=alt.Axis(format="+%", orient="top")),
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
        x=alt.X("confidence:Q", axis=alt.Axis(format="%"), title="mean confidence"), color=run_colour(list(bins))
    )
    bars = base.mark_rule().encode(y=alt.Y("low:Q", title="accuracy", axis=alt.Axis(format="%")), y2="high:Q")
    points = base.mark_point(filled=True, size=60).encode(
        y="accuracy:Q",
        shape=alt.Shape("run:N", scale=alt.Scale(domain=list(bins)), title="run"),
        tooltip=["run:N", "images:Q"],
    )
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
    """Draw counts of (true, predicted) classes as shares of each true class; what is 0 is left out.

    Classes stand at their numbers, not by their names, since only numbers can be zoomed into.
    """
    classes = sorted({name for pair in counts for name in pair})
    number = {name: place for place, name in enumerate(classes)}
    values = [
        {"true": true, "predicted": predicted, "images": count, "share": round(count / totals[true], 4)}
        | {"left": number[predicted] - 0.5, "right": number[predicted] + 0.5}
        | {"top": number[true] - 0.5, "bottom": number[true] + 0.5}
        for (true, predicted), count in counts.items()
        if count
    ]
    side = len(classes) * (20 if len(classes) < 30 else 11)  # a row is as high as the letters of its class's name
    names: dict[str, Any] = {
        "tickMinStep": 1,
        "tickCount": len(classes),
        "grid": False,
        "labelExpr": f"{json.dumps(classes)}[datum.value]",
    }
    domain = [-0.5, len(classes) - 0.5]
    with_shift = "[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!"
    zoom = alt.selection_interval(bind="scales", zoom="wheel![event.shiftKey]", translate=with_shift)
    chart: alt.Chart = (
        # On white in the dark too, where the smallest shares would be the brightest ones or none at all.
        alt.Chart(alt.InlineData(values=values), title=title, view=alt.ViewBackground(fill="white"))
        .mark_rect(clip=True)
        .encode(
            x=alt.X(
                "left:Q", title="predicted", scale=alt.Scale(domain=domain, nice=False), axis=alt.Axis(labelAngle=-90, **names)
            ),
            x2="right",
            y=alt.Y("top:Q", title="true", scale=alt.Scale(domain=domain, nice=False, reverse=True), axis=alt.Axis(**names)),
            y2="bottom",
            color=alt.Color("share:Q", scale=scale, legend=alt.Legend(format=percent)),
            tooltip=["true:N", "predicted:N", "images:Q", alt.Tooltip("share:Q", format=percent.replace("%", ".0%"))],
        )
        .properties(width=side, height=side)
        .add_params(zoom)
    )
    return chart
