"""The run's own record: a row of figures for each epoch in ``metrics.csv``, their curves, and a line on the terminal.

The record is complete whatever the logger, which only mirrors it. The rows are part of the checkpoint, so that the file of a
resumed run has each epoch exactly once.
"""

import csv
import io
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from configs.files import atomic_write_text
from experiment.curves import save_curves
from experiment.tensorboard_mirror import TensorBoardMirror
from experiment.wandb_mirror import WandbMirror

Row = dict[str, float]


class CSVRecorder(Callback):
    """A callback that writes ``metrics.csv`` and ``curves.png`` after each epoch and sends the row to the logger.

    Columns: epoch (1 is the first), seconds, lr, and each metric that the LightningModule logged (train/loss ...).
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.folder = folder
        self.title = title
        self.rows: list[Row] = []
        self.seconds_before = 0.0  # of the epochs before an interruption
        self._started = 0.0
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after these rows."""
        self.rows = list(state_dict["rows"])
        self.seconds_before = sum(row["seconds"] for row in self.rows)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send to the logger the epochs before an interruption that it doesn't know: its own copy may be lost or cut off."""
        for logger in trainer.loggers:
            known = logger.last_epoch if isinstance(logger, WandbMirror | TensorBoardMirror) else 0
            for row in self.rows:
                if row["epoch"] > known:
                    logger.log_metrics(row)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and forget the figures of the epoch before: what is not measured in this one has no value."""
        trainer.callback_metrics.clear()  # Lightning only ever adds to it
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add this epoch's row to the file, the curves, the logger and the terminal."""
        row: Row = {
            "epoch": trainer.current_epoch + 1,
            "seconds": round(time.monotonic() - self._started, 3),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        row |= {name: _number(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.rows.append(row)
        if trainer.is_global_zero:
            try:  # the rows are in the checkpoint, which has the last word on whether the run can continue
                write_rows(self.rows, self.folder / "metrics.csv")
                save_curves(self.rows, self.folder / "curves.png", self.title)
            except OSError as problem:
                if not self._warned:
                    print(
                        f"{problem}: the figures are kept in the checkpoint and written again after the next epoch", flush=True
                    )
                self._warned = True
            for logger in trainer.loggers:
                logger.log_metrics(row)
            print(format_epoch(self.rows, trainer.max_epochs or 0), flush=True)


def format_epoch(rows: list[Row], max_epochs: int) -> str:
    """Format the last row as a line for people, with the time left at the mean pace so far."""
    row = rows[-1]
    parts = [f"epoch {row['epoch']:.0f}/{max_epochs}"]
    for part in ("train", "val", "test"):
        if f"{part}/loss" in row:
            parts.append(f"{part} loss {row[f'{part}/loss']:.3f} accuracy {100 * row[f'{part}/accuracy']:.1f} %")
    left = (max_epochs - row["epoch"]) * sum(each["seconds"] for each in rows) / len(rows)
    parts.append(f"{row['seconds']:.0f} s" + (f", {format_duration(left)} left" if left > 0 else ""))
    return " | ".join(parts)


def format_duration(seconds: float) -> str:
    """Format a time span for people: 50 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def write_rows(rows: list[Row], file: Path) -> None:
    """Write rows as CSV, whole or not at all, and force them to disk. Columns: all names in the order they first appear."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write_text(file, text.getvalue())


def _number(value: Tensor | float) -> float:
    return float(f"{float(value):.6g}")
