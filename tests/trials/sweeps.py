"""Sweeps of the stand-in training, as the tests of several files start them and look at them."""

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

STAND_IN = Path(__file__).parent / "stand_in_training.py"


def written(folder: Path, parameters: dict[str, Any], **others: Any) -> Path:
    """A sweep of the stand-in over these parameters."""
    file = folder / "sweep.yaml"
    entries = {key: entry if isinstance(entry, dict) else {"values": entry} for key, entry in parameters.items()}
    content = {
        "program": str(STAND_IN), "name": "tried", "method": "grid", "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": entries, "command": ["${interpreter}", "${program}", "${args_no_hyphens}"],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(content | others, sort_keys=False))
    return file


def table(folder: Path) -> list[dict[str, str]]:
    """What the sweep in a folder of runs has written of its trials."""
    with (folder / "tried/trials.csv").open() as stream:
        return list(csv.DictReader(stream))


def starts(folder: Path) -> dict[str, list[str]]:
    """How many epochs each training had behind it at each of its starts."""
    return {file.parent.name: file.read_text().split() for file in sorted((folder / "tried").glob("trial-*/starts"))}


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)
