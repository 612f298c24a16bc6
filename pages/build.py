"""From runs to one HTML file."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.files import atomic_write_text
from pages import charts
from pages.claims import Claim
from pages.figures import FIGURES
from pages.pictures import Sprites, collect_pictures, denet_words
from pages.render import render
from pages.run_data import Prediction, RunData
from pages.statistics import (
    PairedComparison,
    calibration_error,
    calibration_error_by_chance,
    compare_paired,
    reliability,
    wilson,
)

GALLERY = 120  # images in each list of mistakes; they take 2 kB each
PAIRS = 20
OF_THE_MACHINE = ("data.root", "data.archives", "data.cache_dir", "runs", "resume")  # nobody else's business
COLUMNS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy", "test/mean_per_class")


@dataclass(frozen=True)
class Against:
    """A run compared with the first one, image by image, or why that is impossible."""

    first: str
    second: str
    result: PairedComparison | None
    problem: str


def write_page(
    runs: Sequence[RunData], file: Path, inline: bool = True, live: bool = False, claims: Sequence[Claim] = ()
) -> list[Against]:
    """Write the page of one run, or of several beside each other.

    Args:
        runs: at least one. The others are compared with the first.
        file: the page.
        inline: the pictures are part of the file, else it names those beside it.
        live: the run still trains, so that the page reloads itself.
        claims: of the report, with their verdicts.

    Returns:
        What each further run is against the first.
    """
    labels = label_runs(runs)
    sprites = Sprites(file, inline)
    comparisons = [_compare(runs[0], labels[0], run, label) for run, label in zip(runs[1:], labels[1:], strict=True)]
    specs = page_charts(runs, labels)
    pictures = [collect_pictures(run, sprites) for run in runs]
    first_and_second = comparisons[0].result and (runs[0].predictions, runs[1].predictions) if comparisons else None
    context = {
        "title": ", ".join(labels),
        "runs": [_describe(run, label, found["units"]) for run, label, found in zip(runs, labels, pictures, strict=True)],
        "comparisons": comparisons,
        "live": live,
        "claims": claims,
        "matrices": {name: chart.to_dict()["title"] for name, chart in specs.items() if name.startswith("confusion-")},
        "metrics": [name for name in specs if name.startswith("metric-")],
        "columns": [name for name in COLUMNS if any(name in row for run in runs for row in run.rows)],
        "layers": list(dict.fromkeys(layer for found in pictures for layer in found["units"])),
        "probes": _probes(runs),
        "denet": denet_words(runs),
        "epochs": max([run.max_epochs for run in runs]),
        "per_class": charts.per_class_rows(*first_and_second) if first_and_second else [],
        "mistakes": _mistakes(runs, labels, sprites, bool(first_and_second)),
        "confused": [_confused(run, label, sprites) for run, label in zip(runs, labels, strict=True) if run.predictions],
        "calibration": [_calibration(run, label) for run, label in zip(runs, labels, strict=True) if run.predictions],
        "settings": _settings(runs),
    }
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
    known = [(run, label) for run, label in zip(runs, labels, strict=True) if run.predictions]
    if len(runs) > 1 and _compare(runs[0], labels[0], runs[1], labels[1]).result:
        found["per-class"] = charts.per_class_chart(charts.per_class_rows(runs[0].predictions, runs[1].predictions))
    if known:
        found["calibration"] = charts.calibration_chart({label: reliability(*_confidence(run)) for run, label in known})
    if "per-class" in found:
        found["confusion-difference"] = charts.confusion_difference_chart(
            runs[0].predictions, runs[1].predictions, (labels[0], labels[1])
        )
    for number, (run, label) in enumerate(known):
        found[f"confusion-{number}"] = charts.confusion_chart(run.predictions, label)
    return found


def label_runs(runs: Sequence[RunData]) -> list[str]:
    """Return a name for each run: its folder's, numbered where that is not enough."""
    times = Counter(run.name for run in runs)
    return [run.name if times[run.name] == 1 else f"{run.name} ({number})" for number, run in enumerate(runs, start=1)]


def _compare(first: RunData, first_label: str, second: RunData, second_label: str) -> Against:
    problem = ""
    if not first.predictions or not second.predictions:
        lacking = first_label if not first.predictions else second_label
        problem = f"{lacking} left no predictions of single images"
    elif [each.file for each in first.predictions] != [each.file for each in second.predictions]:
        problem = "they were tested on other images"
    if problem:
        return Against(first_label, second_label, None, problem)
    right = [np.array([each.right for each in run.predictions]) for run in (first, second)]
    groups = np.array([each.group for each in first.predictions])
    return Against(first_label, second_label, compare_paired(right[0], right[1], groups), "")


def _describe(run: RunData, label: str, units: dict[str, list[int]]) -> dict[str, Any]:
    right = sum(each.right for each in run.predictions)
    return {
        "label": label,
        "title": run.title,
        "missing": run.missing,
        "figures": FIGURES.get(run.settings["model"]["name"]),
        "diverged": run.diverged,
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


def _mistakes(runs: Sequence[RunData], labels: Sequence[str], sprites: Sprites, paired: bool) -> list[dict[str, Any]]:
    """Return lists of images: those that only one of two networks has right, or those that a single one has wrong."""
    if not runs[0].predictions:
        return []
    if not paired:
        wrong = [row for row, each in enumerate(runs[0].predictions) if not each.right]
        wrong.sort(key=lambda row: -runs[0].predictions[row].confidence)
        return [_gallery(f"Wrong by {labels[0]}, the surest first", wrong, runs[0], sprites)]
    pairs = list(zip(runs[0].predictions, runs[1].predictions, strict=True))
    lists = []
    for winner, loser in ((0, 1), (1, 0)):
        rows = [row for row, pair in enumerate(pairs) if pair[winner].right and not pair[loser].right]
        rows.sort(key=lambda row: -pairs[row][loser].confidence)
        lists.append(_gallery(f"{labels[winner]} right, {labels[loser]} wrong", rows, runs[loser], sprites))
    both = [row for row, pair in enumerate(pairs) if not pair[0].right and not pair[1].right]
    return [*lists, _gallery("Both wrong", both, runs[0], sprites)]


def _gallery(title: str, rows: Sequence[int], loser: RunData, sprites: Sprites) -> dict[str, Any]:
    images = []
    for row in rows[:GALLERY]:
        each = loser.predictions[row]
        words = f"as {each.predicted}, {each.confidence:.0%}"
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
    flat = [_flatten(run.settings) for run in runs]
    names = dict.fromkeys(name for each in flat for name in each if name not in OF_THE_MACHINE)
    rows = [(name, [json.dumps(each.get(name)) for each in flat]) for name in names]
    return [(name, values) for name, values in rows if len(runs) == 1 or len(set(values)) > 1]


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
