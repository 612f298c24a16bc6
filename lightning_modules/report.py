"""What a run says when it ends: ``summary.json`` and the last words on the terminal."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lightning_modules.record import Row, duration

NAMES = {"accuracy": "accuracy", "top5": "top-5", "mean_per_class": "mean per class"}


def summary(rows: list[Row], diverged: str | None, code: dict[str, str]) -> dict[str, Any]:
    """The figures of the last epoch, what code (``code_version`` at the start) and machine made them, whether it diverged."""
    last = rows[-1] if rows else {}
    return {
        "diverged": diverged is not None,
        "divergence": diverged,
        "epochs": int(last.get("epoch", 0)),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        **{name: value for name, value in last.items() if "/" in name and not name.startswith("seconds")},
        **code,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}, {_device_name()}",
    }


def final_words(rows: list[Row], folder: Path, diverged: str | None, offline_run: Path | None) -> str:
    """What came out and where everything is, for people."""
    lines = []
    if diverged:
        lines.append(f"Stopped: the training diverged, {diverged}. A lower optim.lr is the usual remedy.")
    if rows:
        last = rows[-1]
        lines.append(
            f"After {last['epoch']:.0f} epochs in {duration(sum(row['seconds'] for row in rows))}, on the test images: "
            + ", ".join(f"{words} {100 * last[f'test/{name}']:.2f} %" for name, words in NAMES.items())
        )
        if "val/accuracy" in last:
            best = max(rows, key=lambda row: row["val/accuracy"])
            lines.append(
                f"Best on the validation images: epoch {best['epoch']:.0f} with {100 * best['val/accuracy']:.2f} % "
                f"(its test accuracy: {100 * best['test/accuracy']:.2f} %)"
            )
    lines.append(f"Everything is in {folder}: metrics.csv, curves.png, pictures/, checkpoints/, split/, config.yaml")
    if offline_run:
        lines.append(f"W&B kept the run offline. Look at it: wandb leet {offline_run}")
        lines.append(f"                          Upload it: wandb sync {offline_run}")
    return "\n".join(lines)


def write_summary(values: dict[str, Any], file: Path) -> None:
    """Write the summary as JSON."""
    file.write_text(json.dumps(values, indent=1) + "\n")


def code_version() -> dict[str, str]:
    """The version of this project and, in a git checkout, its commit (with + where files were changed since)."""
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "--short=10", "HEAD")
    changed = "+" if commit and _git(here, "status", "--porcelain", "--untracked-files=no") else ""
    return {"version": version("alexnet-zfnet-caltech101"), "commit": commit + changed}


def _git(folder: Path, *words: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads"
