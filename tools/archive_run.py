"""Archive what a finished run recorded: ``python -m tools.archive_run runs/NAME results/NAME``.

Copies settings, figures, curves and the confusion matrix (not weights and pictures) and puts the run's row into ``runs.csv``
beside the copy. The folders of this machine are set back to their defaults in the copy.
"""

import argparse
import csv
import io
import json
import shutil
from pathlib import Path

from configs.files import atomic_write_text
from configs.parser import load_settings, save_settings

FILES = ("metrics.csv", "curves.png", "confusion.csv", "confusion.png", "summary.json")
COLUMNS = (
    "model", "recipe", "split", "seed", "input_size", "epochs", "train_top1", "test_top1", "test_top5", "test_mean_per_class",
    "wall_minutes", "command",
)  # fmt: skip


def archive_run(run: Path, archive: Path) -> dict[str, object]:
    """Copy the record of a run's folder to the folder ``archive``. Returns the run's row of the table, by COLUMNS.

    Raises:
        SettingsError: the run's settings can't be read.
        OSError: a file is missing or can't be written.
    """
    archive.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(run / name, archive / name)
    settings = load_settings(run / "config.yaml")
    own = settings.data.name == "folder"  # a folder of images has no default: its own name, without where it lies
    settings.data.root = Path(settings.data.root).name if own else "data"
    settings.data.archives, settings.data.cache_dir, settings.runs = None, None, "runs"
    save_settings(settings, archive / "config.yaml")
    summary = json.loads((run / "summary.json").read_text())
    overrides = dict(word.partition("=")[::2] for word in summary["command"].split())
    sizes = sorted({*settings.data.train_sizes, settings.data.image_size or summary["input_size"]})
    return {
        "model": settings.model.name,
        "recipe": overrides.get("recipe", "fast"),
        "split": settings.data.split,
        "seed": settings.seed,
        "input_size": f"{sizes[0]}-{sizes[-1]}" if len(sizes) > 1 else sizes[0],
        "epochs": summary["epochs"],
        "train_top1": _percent(summary["final/train/accuracy"]),
        "test_top1": _percent(summary["final/test/accuracy"]),
        "test_top5": _percent(summary["final/test/top5"]),
        "test_mean_per_class": _percent(summary["final/test/mean_per_class"]),
        "wall_minutes": round(summary["seconds"] / 60, 1),
        "command": summary["command"],
    }


def add_row(row: dict[str, object], table: Path) -> None:
    """Put a row into the CSV file ``table``, in place of an earlier one of the same command."""
    rows: list[dict[str, object]] = []
    if table.exists():
        with table.open(newline="") as file:
            rows = [dict(other) for other in csv.DictReader(file) if other["command"] != row["command"]]
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, row])
    atomic_write_text(table, written.getvalue())


def _percent(share: float) -> float:
    return round(100 * share, 2)


def main() -> None:
    """Read the command line and archive the run."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.archive_run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help="the folder for the copy, such as results/NAME")
    options = parser.parse_args()
    if not (options.run / "summary.json").is_file():
        parser.error(f"{options.run} has no summary.json, so it is not the folder of a finished run")
    add_row(archive_run(options.run, options.archive), options.archive.parent / "runs.csv")


if __name__ == "__main__":
    main()
