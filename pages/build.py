"""From runs to one HTML file."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.files import atomic_write_text
from pages import charts, mistake_charts
from pages.claims import Claim, link_to_picture
from pages.comparison import (
    OF_THE_MACHINE,
    Against,
    compare_architectures,
    compare_weights,
    find_configurations,
    flatten,
    label_runs,
    why_incomparable,
)
from pages.figure_links import link_figures
from pages.figures import FIGURES
from pages.pictures import Sprites, collect_pictures, denet_words
from pages.render import render
from pages.run_data import Prediction, RunData
from pages.statistics import calibration_error, calibration_error_by_chance, reliability, wilson

GALLERY = 120  # images in each list of mistakes; they take 2 kB each
PAIRS = 20
COLUMNS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy", "test/mean_per_class")


def write_page(
    runs: Sequence[RunData], file: Path, inline: bool = True, live: bool = False, claims: Sequence[Claim] = ()
) -> list[Against]:
    """Write the page of one run, or of several beside each other.

    Args:
        runs: at least one. Each further one is compared with the first that was tested on the same images.
        file: the page.
        inline: the pictures are part of the file, else it names those beside it.
        live: the run still trains, so that the page reloads itself.
        claims: of the report, with their verdicts.

    Returns:
        What each further run is against an earlier one.
    """
    labels = label_runs(runs)
    sprites = Sprites(file, inline)
    comparisons = compare_weights(runs, labels)
    configurations = find_configurations(runs)
    paired = _paired(runs)
    specs = page_charts(runs, labels)
    pictures = [collect_pictures(run, sprites) for run in runs]
    known = _with_predictions(runs, labels)
    context: dict[str, Any] = {
        "title": ", ".join(labels),
        "labels": labels,
        "runs": [_describe(run, label, found["units"]) for run, label, found in zip(runs, labels, pictures, strict=True)],
        "comparisons": comparisons,
        "configurations": configurations,
        "architectures": compare_architectures(configurations),
        "live": live,
        "matrices": {
            name: chart.to_dict(validate=False)["title"] for name, chart in specs.items() if name.startswith("confusion-")
        },
        "metrics": [name for name in specs if name.startswith("metric-")],
        "columns": [name for name in COLUMNS if any(name in row for run in runs for row in run.rows)],
        "layers": list(dict.fromkeys(layer for found in pictures for layer in found["units"])),
        "probes": _probes(runs),
        "denet": denet_words(runs),
        "epochs": max([run.max_epochs for run in runs]),
        "per_class": mistake_charts.per_class_rows(runs[0].predictions, runs[1].predictions) if paired else [],
        "classes": {} if paired else {label: mistake_charts.class_rows(run.predictions) for run, label in known},
        "mistakes": _mistakes(known, paired, sprites),
        "confused": [_confused(run, label, sprites) for run, label in known],
        "calibration": [_calibration(run, label) for run, label in known],
        "settings": _settings(runs),
    }
    shown = (context["layers"], context["probes"], pictures)
    context["claims"] = [(each, link_to_picture(each.shown_by, *shown)) for each in claims]
    context["figures"] = link_figures(runs, *shown)
    context["data"] = {
        "epochs": context["epochs"],
        "probes": context["probes"],
        "layers": context["layers"],
        "runs": [
            {
                "label": label,
                "best": run.best_epoch,
                "accuracy": {int(row["epoch"]): row["test/accuracy"] for row in run.rows if "test/accuracy" in row},
                "pictures": found,
            }
            for run, label, found in zip(runs, labels, pictures, strict=True)
        ],
    }
    atomic_write_text(file, render("template.html", context, specs, sprites.contents))
    return comparisons


def page_charts(runs: Sequence[RunData], labels: Sequence[str]) -> dict[str, charts.Chart]:
    """Return all charts that the runs allow, by name."""
    found = charts.epoch_charts(runs, labels)
    known = _with_predictions(runs, labels)
    if _paired(runs):
        both = (runs[0].predictions, runs[1].predictions)
        found["per-class"] = mistake_charts.per_class_chart(mistake_charts.per_class_rows(*both), (labels[0], labels[1]))
        first, second = (Counter((each.true, each.predicted) for each in predictions) for predictions in both)
        if first != second:  # else there is nothing to draw
            found["confusion-difference"] = mistake_charts.confusion_difference_chart(*both, (labels[0], labels[1]))
    else:
        for number, (run, label) in enumerate(known):
            found[f"classes-{number}"] = mistake_charts.class_chart(mistake_charts.class_rows(run.predictions), label)
    if known:
        bins = {label: reliability(*_confidence(run)) for run, label in known}
        found["calibration"] = mistake_charts.calibration_chart(bins)
    for number, (run, label) in enumerate(known):
        found[f"confusion-{number}"] = mistake_charts.confusion_chart(run.predictions, label)
    return found


def _paired(runs: Sequence[RunData]) -> bool:
    """Whether the first two runs can be compared image by image."""
    return len(runs) > 1 and not why_incomparable(runs[0], runs[1])


def _with_predictions(runs: Sequence[RunData], labels: Sequence[str]) -> list[tuple[RunData, str]]:
    return [(run, label) for run, label in zip(runs, labels, strict=True) if run.predictions]


def _describe(run: RunData, label: str, units: dict[str, list[int]]) -> dict[str, Any]:
    right = sum(each.right for each in run.predictions)
    return {
        "label": label,
        "title": run.title,
        "data": run.data,
        "folder": run.name if label == run.network else "",  # else the label has it
        "missing": run.missing,
        "figures": FIGURES.get(run.settings["model"]["name"]),
        "diverged": run.diverged,
        "best": run.best_epoch,
        "crops": bool(run.settings["data"].get("test_crops")),
        "accuracy": wilson(right, len(run.predictions)) if run.predictions else None,
        "images": len(run.predictions),
        "final": run.summary.get("final/test/accuracy"),
        "units": units,
        "rows": run.rows,
    }


def _probes(runs: Sequence[RunData]) -> list[dict[str, str]]:
    """Return the probes of all runs; where several have one, as the run that knows most of it describes it."""
    probes: dict[str, dict[str, str]] = {}
    for run in runs:
        for each in run.probes:
            if each["place"] not in probes or each["class"]:
                probes[each["place"]] = each
    return list(probes.values())


def _thumbnail(run: RunData, row: int, sprites: Sprites) -> str:
    return sprites.add_file(run.folder / f"mistakes/{row + 1:05d}.webp")


def _mistakes(known: Sequence[tuple[RunData, str]], paired: bool, sprites: Sprites) -> list[dict[str, Any]]:
    """Return lists of images: those that only one of two networks has right, or those that each has wrong."""
    if not paired:
        lists = []
        for run, label in known:
            wrong = [row for row, each in enumerate(run.predictions) if not each.right]
            wrong.sort(key=lambda row: -run.predictions[row].confidence)
            lists.append(_gallery(f"Wrong by {label}, the surest first", wrong, run, sprites))
        return lists
    (first, _), (second, _) = known[:2]
    pairs = list(zip(first.predictions, second.predictions, strict=True))
    lists = []
    for winner, loser in ((0, 1), (1, 0)):
        rows = [row for row, pair in enumerate(pairs) if pair[winner].right and not pair[loser].right]
        rows.sort(key=lambda row: -pairs[row][loser].confidence)
        lists.append(_gallery(f"{known[winner][1]} right, {known[loser][1]} wrong", rows, known[loser][0], sprites))
    both = [row for row, pair in enumerate(pairs) if not pair[0].right and not pair[1].right]
    both.sort(key=lambda row: -max(each.confidence for each in pairs[row]))
    return [*lists, _gallery("Both wrong", both, first, sprites, known[:2])]


def _gallery(
    title: str, rows: Sequence[int], loser: RunData, sprites: Sprites, several: Sequence[tuple[RunData, str]] = ()
) -> dict[str, Any]:
    """Return images with what ``loser`` took them for, or each of ``several``."""
    images = []
    for row in rows[:GALLERY]:
        each = loser.predictions[row]
        guesses = [(f"{label}: ", run.predictions[row]) for run, label in several] or [("as ", each)]
        words = "; ".join(f"{start}{guess.predicted}, {guess.confidence:.0%}" for start, guess in guesses)
        images.append({"file": each.file, "true": each.true, "words": words, "source": _thumbnail(loser, row, sprites)})
    return {"title": title, "count": len(rows), "images": images}


def _confused(run: RunData, label: str, sprites: Sprites) -> dict[str, Any]:
    """Return the most frequent pairs of true and predicted class, with two examples each."""
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, each in enumerate(run.predictions):
        if not each.right:
            rows_of.setdefault((each.true, each.predicted), []).append(row)
    most = sorted(rows_of.items(), key=lambda item: (-len(item[1]), item[0]))[:PAIRS]
    rows = [
        {
            "true": true, "predicted": predicted, "images": len(rows),
            "sources": [source for row in rows[:2] if (source := _thumbnail(run, row, sprites))],
        }
        for (true, predicted), rows in most
    ]  # fmt: skip
    return {"label": label, "rows": rows}


def _confidence(run: RunData) -> tuple[Any, Any]:
    predictions: list[Prediction] = run.predictions
    return np.array([each.confidence for each in predictions]), np.array([each.right for each in predictions])


def _calibration(run: RunData, label: str) -> dict[str, Any]:
    confidence, right = _confidence(run)
    chance, limit = calibration_error_by_chance(confidence)
    return {"label": label, "error": calibration_error(confidence, right), "chance": chance, "limit": limit}


def _settings(runs: Sequence[RunData]) -> list[tuple[str, list[str]]]:
    """Return the settings, dotted; of several runs those that differ."""
    flat = [flatten(run.settings) for run in runs]
    names = dict.fromkeys(name for each in flat for name in each if name not in OF_THE_MACHINE)
    rows = [(name, [json.dumps(each.get(name)) for each in flat]) for name in names]
    return [(name, values) for name, values in rows if len(runs) == 1 or len(set(values)) > 1]
