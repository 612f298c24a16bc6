"""What a run says when it ends: ``summary.json``, and a few lines on the terminal."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from configs.files import atomic_write_text
from experiment.csv_recorder import Row, format_duration
from experiment.hardware import describe_hardware

Metadata = dict[str, str | int | bool]
"""What a run keeps beside its figures: command, precision, code ..."""

NAMES = {"accuracy": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}


def summary(
    rows: list[Row], final: Row, floor: Row, divergence: str | None, seconds: float, metadata: Metadata
) -> dict[str, Any]:
    """Return what came out of a run, as it goes into ``summary.json``.

    Args:
        rows: of the epochs.
        final: the figures of the evaluation at the end (final/test/accuracy ...).
        floor: the accuracies that can be had without looking at the content.
        divergence: how the training diverged; None if it didn't.
        seconds: from start to end.
        metadata: what else to keep: the command, the precision, the code (``code_version``) ...
    """
    last = rows[-1] if rows else {}
    return {
        "diverged": divergence is not None,
        "divergence": divergence,
        "epochs": int(last.get("epoch", 0)),
        "seconds": round(seconds, 1),
        **{name: value for name, value in (last | final).items() if "/" in name and not name.startswith("seconds")},
        **{f"no_content/{name}": round(value, 6) for name, value in floor.items()},
        **metadata,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": describe_hardware(),
    }


def verdict(figures: dict[str, Any]) -> str:
    """Say in a line what came out of a run, from its ``summary``."""
    if figures["diverged"]:
        return f"The training diverged: {figures['divergence']}"
    accuracies = ", ".join(f"{name} {100 * figures[f'final/test/{metric}']:.2f} %" for metric, name in NAMES.items())
    views = " by ten crops" if figures.get("test_crops") else ""
    return f"Test images{views}: {accuracies}, after {figures['epochs']} epochs in {format_duration(figures['seconds'])}"


def format_summary(figures: dict[str, Any], rows: list[Row], folder: Path) -> str:
    """Say for people what the ``summary`` says, and where everything is."""
    lines = []
    if figures["diverged"]:
        lines.append(f"Stopped: the training diverged, {figures['divergence']}. A lower optim.lr is the usual remedy.")
    if rows:
        lines.append(
            f"After {figures['epochs']} epochs in {format_duration(figures['seconds'])}, with the weights of the last:"
        )
        parts = {
            "final/test": "test images, by ten crops" if figures.get("test_crops") else "test images",
            "test": "test images, in one view",
            "final/train": "training images, in one view",
            "no_content": "test images, by size, greyness and corners alone",
        }
        lines += [
            f"  {label:<50}" + ", ".join(
                f"{name} {100 * figures[f'{part}/{metric}']:.2f} %"
                for metric, name in NAMES.items() if f"{part}/{metric}" in figures
            )
            for part, label in parts.items() if f"{part}/accuracy" in figures
        ]  # fmt: skip
        if "val/accuracy" in rows[-1]:
            best = max(rows, key=lambda row: row["val/accuracy"])
            lines.append(
                f"Best on the validation images: epoch {best['epoch']:.0f} with {100 * best['val/accuracy']:.2f} % "
                f"(its test accuracy: {100 * best['test/accuracy']:.2f} %)"
            )
    if (folder / "index.html").is_file():
        lines.append(f"Open {folder / 'index.html'}: curves, pictures of every layer and mistakes, epoch by epoch")
    elif overviews := sorted(folder.glob("pictures/overview/all/epoch-*.jpg")):
        lines.append(f"Open first: {overviews[-1]}, each probe through all layers")
    lines.append(
        f"Everything is in {folder}: metrics.csv, curves.png, confusion.png, pictures/, checkpoints/, split/, config.yaml"
    )
    return "\n".join(lines)


def write_summary(values: dict[str, Any], file: Path) -> None:
    """Write the summary as JSON."""
    atomic_write_text(file, json.dumps(values, indent=1) + "\n")


def code_version() -> dict[str, str]:
    """Return the version of this project and, in a git checkout, its commit (with + where files were changed since)."""
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "--short=10", "HEAD")
    changed = "+" if commit and _git(here, "status", "--porcelain", "--untracked-files=no") else ""
    return {"version": version("alexnet-zfnet-caltech101"), "commit": commit + changed}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
