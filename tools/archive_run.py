"""Keep what a run recorded: ``python -m tools.archive_run runs/NAME results/NAME``.

Copies settings, figures, curves and the confusion matrix (not weights and pictures) and puts the run's row into ``runs.csv``
beside the copy. The folders of this machine are set back to their defaults in the copy.
"""

import csv
import json
import shutil
import sys
from pathlib import Path

from configs.parser import load_settings, save_settings

FILES = ("metrics.csv", "curves.png", "confusion.csv", "confusion.png", "summary.json")
COLUMNS = (
    "model", "recipe", "split", "seed", "input_size", "epochs", "train_top1", "test_top1", "test_top5", "test_mean_per_class",
    "wall_minutes", "command",
)  # fmt: skip


def keep(run: Path, kept: Path) -> dict[str, object]:
    """Copy the record of ``run`` to ``kept``. Returns its row of the table."""
    kept.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(run / name, kept / name)
    settings = load_settings(run / "config.yaml")
    settings.data.root, settings.data.archives, settings.data.cache_dir, settings.runs = "data", None, None, "runs"
    save_settings(settings, kept / "config.yaml")
    summary = json.loads((run / "summary.json").read_text())
    words = dict(word.partition("=")[::2] for word in summary["command"].split())
    sizes = sorted({*settings.data.train_sizes, settings.data.image_size or summary["input_size"]})
    return {
        "model": settings.model.name,
        "recipe": words.get("recipe", "fast"),
        "split": settings.data.split,
        "seed": settings.seed,
        "input_size": f"{sizes[0]}-{sizes[-1]}" if len(sizes) > 1 else sizes[0],
        "epochs": summary["epochs"],
        "train_top1": percent(summary["final/train/accuracy"]),
        "test_top1": percent(summary["final/test/accuracy"]),
        "test_top5": percent(summary["final/test/top5"]),
        "test_mean_per_class": percent(summary["final/test/mean_per_class"]),
        "wall_minutes": round(summary["seconds"] / 60, 1),
        "command": summary["command"],
    }


def percent(share: float) -> float:
    """A share in percent with two decimals."""
    return round(100 * share, 2)


def add_row(row: dict[str, object], table: Path) -> None:
    """Put ``row`` into the CSV file, in place of an earlier one of the same command."""
    rows: list[dict[str, object]] = []
    if table.exists():
        with table.open(newline="") as file:
            rows = [dict(other) for other in csv.DictReader(file) if other["command"] != row["command"]]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, row])


if __name__ == "__main__":
    if len(sys.argv) != 3 or not (Path(sys.argv[1]) / "summary.json").is_file():
        sys.exit("usage: python -m tools.archive_run RUN KEPT, where RUN is the folder of a finished run")
    add_row(keep(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[2]).parent / "runs.csv")
