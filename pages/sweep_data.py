"""A sweep's folder as plain data: ``trials.csv``, the metric that decides, and the runs in ``trial-*/``."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs import SettingsError
from pages.run_data import Row, finite_numbers, read_rows

RECORD = "sweep.json"
TABLE = "trials.csv"
STUDY = "study.db"  # sweep.py's, from its start on


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: its own.
        values: those of the varied parameters, numbers where they are.
        ended: finished, running, diverged, stopped (early) or failed.
        remark: how it diverged, was stopped or failed.
        figures: of ``trials.csv``: ``best`` of the sweep's metric, and those of its last epoch.
        rows: the figures of each epoch.
        page: the address of its own page from the sweep's folder; empty where there is none.
    """

    number: int
    values: dict[str, Any]
    ended: str
    remark: str
    figures: dict[str, float]
    rows: list[Row]
    page: str


@dataclass(frozen=True)
class SweepData:
    """A sweep's folder as plain data.

    Attributes:
        name: of the folder.
        metric: what decides which trial is best.
        maximize: whether more of it is better.
        trials: by number.
        missing: sentences on what is not there.
    """

    name: str
    metric: str
    maximize: bool
    trials: list[Trial]
    missing: list[str]

    @property
    def best(self) -> Trial | None:
        """The trial with the best value of the metric among those that didn't diverge or fail."""
        known = [trial for trial in self.trials if "best" in trial.figures and trial.ended not in ("diverged", "failed")]
        sign = 1 if self.maximize else -1
        return max(known, key=lambda trial: sign * trial.figures["best"], default=None)


def read_sweep_folder(folder: Path) -> SweepData:
    """Read what a sweep has left. Raises SettingsError where it has no table yet."""
    if not (folder / TABLE).is_file():
        raise SettingsError(_why_no_table(folder))
    missing = []
    try:
        record = json.loads((folder / RECORD).read_text())
        metric, maximize = str(record["metric"]), record["goal"] == "maximize"
    except (FileNotFoundError, ValueError, KeyError):
        missing.append(f"no {RECORD}, so the metric that decided has no name here, and more of it counts as better")
        metric, maximize = "metric", True
    with (folder / TABLE).open(newline="", encoding="utf-8") as stream:
        trials = [_trial(row, folder) for row in csv.DictReader(stream)]
    if not trials:
        missing.append("no trial had ended")
    elif not any(trial.rows for trial in trials):
        missing.append("no trial's folder, so no curves")
    elif without := [str(trial.number) for trial in trials if not trial.page]:
        missing.append(f"no page of trial {', '.join(without)}")
    return SweepData(folder.resolve().name, metric, maximize, trials, missing)


def _why_no_table(folder: Path) -> str:
    """Say that a sweep hasn't come to its end, and what there is to look at meanwhile."""
    ended = len(list(folder.glob("trial-*/summary.json")))
    count = f"only {ended} of its trials" if ended else "no trial"
    look = f", or look at those there are: python page.py {folder}/trial-*/" if any(folder.glob("trial-*/config.yaml")) else ""
    return f"{folder}: {count} had ended, and sweep.py writes {TABLE} when all have; let it run on{look}"


def _trial(row: dict[str, str], folder: Path) -> Trial:
    names = list(row)
    varied, further = names[1 : names.index("ended")], names[names.index("ended") + 2 :]
    number = int(row["trial"])
    run = row.get("folder") or f"trial-{number:03d}"  # tables of earlier versions don't name it
    figures = finite_numbers({name: row[name] for name in further if name != "folder"})
    page = f"{run}/index.html" if (folder / run / "index.html").is_file() else ""
    rows = read_rows(folder / run / "metrics.csv")
    return Trial(number, {name: _value(row[name]) for name in varied}, row["ended"], row["remark"], figures, rows, page)


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
