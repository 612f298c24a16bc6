"""The page of a sweep: which values of the parameters gave what."""

import json
from pathlib import Path

from configs.files import atomic_write_text
from pages.render import render
from pages.sweep_charts import sweep_charts
from pages.sweep_data import RECORD, STUDY, TABLE, SweepData, read_sweep_folder

MINOR_COLUMNS = ("lr", "seconds")  # of trials.csv, which say little of a trial


def is_sweep(folder: Path) -> bool:
    """Whether a folder is a sweep's, be it only begun."""
    return (folder / TABLE).is_file() or (folder / STUDY).is_file() or any(folder.glob("trial-*"))


def write_sweep_record(folder: Path, metric: str, maximize: bool) -> None:
    """Write what ``trials.csv`` doesn't say and the page needs: the metric that decides."""
    atomic_write_text(folder / RECORD, json.dumps({"metric": metric, "goal": "maximize" if maximize else "minimize"}))


def write_sweep_page(folder: Path, file: Path | None = None) -> Path:
    """Write the page of a sweep, by default as ``index.html`` in its folder. Returns the file.

    It holds no pictures and leads to the trials' own pages, by addresses that begin at the sweep's folder.

    Raises:
        SettingsError: the sweep hasn't come to its end.
    """
    sweep = read_sweep_folder(folder)
    file = file or folder / "index.html"
    best = sweep.best
    names = dict.fromkeys(name for trial in sweep.trials for name in trial.figures if name not in MINOR_COLUMNS)
    context = {
        "sweep": sweep,
        "best": best,
        "counts": _count_endings(sweep),
        "varied": list(dict.fromkeys(name for trial in sweep.trials for name in trial.values)),
        "columns": list(names),
        "data": {"epochs": 1, "probes": [], "layers": [], "runs": []},
    }
    atomic_write_text(file, render("sweep.html", context, sweep_charts(sweep.trials, sweep.metric, best)))
    return file


def _count_endings(sweep: SweepData) -> str:
    endings = [trial.ended for trial in sweep.trials]
    return ", ".join(f"{endings.count(each)} {each}" for each in dict.fromkeys(endings))
