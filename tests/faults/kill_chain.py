"""Runs that are killed several times and resumed, and what must be the same in them as in one that was left alone."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_modules.checkpoints import read_checkpoint

ROOT = Path(__file__).parents[2]
TINY = [
    "data=shapes", "data.image_size=67", "data.train_sizes=[67]", "data.images_per_class=10", "data.batch_size=8",
    "data.val_fraction=0.25", "viz.probes=[circle,star]", "viz.top_maps=0", "viz.sensitivity=false", "viz.metrics=false",
    "model.dropout=0.5", "trainer.max_epochs=3", "trainer.accelerator=cpu",
    "trainer.keep=all",
]  # fmt: skip
KINDS = {
    "alone": ["logger=none"],
    "two processes": ["logger=none", "trainer.devices=2", "trainer.strategy=ddp"],
    "W&B offline": ["logger=wandb", "logger.mode=offline"],
}

PLACES = ("settings", "dirpath", "best_model_path", "last_model_path", "kth_best_model_path", "best_k_models", "current_score")
"""What differs in a checkpoint: where the run lies, and a score that Lightning writes down but never reads back."""

Kill = tuple[str, int]
"""A point of ``killed_run`` and the number of its passage."""

IN_AN_EPOCH = (
    "half a checkpoint", "before checkpoint", "after checkpoint", "before metrics", "after metrics", "before picture",
    "after picture", "before sprite", "after sprite", "before index", "after index", "before page", "after page", "batch",
    "validation batch", "row",
)  # fmt: skip
TO_WANDB = ("W&B row", "W&B pictures")
IN_THE_FIRST_EPOCH = ("before best checkpoint", "after best checkpoint")  # later ones need not be better
AT_THE_START = ("before settings", "after settings", "after split")  # of a new run and of a resumed one
AT_THE_END = ("test batch", "end of the run", "before predictions", "after predictions", "before summary", "after summary")


def random_kills(rng: random.Random, kind: str) -> list[Kill]:
    """Three kills, each of which lands: in the first or second epoch, in the one after, and at the next start or at the end.

    With W&B the second is where the run hands it figures or pictures.
    """
    first = rng.choice([(rng.choice(IN_AN_EPOCH), rng.choice((1, 2))), (rng.choice(IN_THE_FIRST_EPOCH), 1)])
    second = rng.choice(TO_WANDB if kind == "W&B offline" else IN_AN_EPOCH)
    return [first, (second, 1), (rng.choice(AT_THE_START + AT_THE_END), 1)]


def start(*arguments: str, kill: Kill = ("none", 0)) -> tuple[int, str]:
    """A process of ``killed_run`` in a group of its own. Returns its status and what it printed."""
    point, passage = kill
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.killed_run", point, str(passage), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "WANDB_SILENT": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def start_or_resume(folder: Path, arguments: Sequence[str], kill: Kill = ("none", 0)) -> tuple[int, str]:
    """Resume the run in a folder, or start it anew where no epoch had ended."""
    if (folder / "checkpoints/last.ckpt").exists():
        return start(f"resume={folder}", kill=kill)
    shutil.rmtree(folder, ignore_errors=True)
    return start(*arguments, f"runs={folder.parent}", f"name={folder.name}", kill=kill)


def run_chain(folder: Path, arguments: Sequence[str], kills: Sequence[Kill]) -> None:
    """Run until the end, killed on the way. Raises AssertionError if a kill did not land, or the end isn't reached."""
    for kill in kills:
        status, output = start_or_resume(folder, arguments, kill)
        assert status == -signal.SIGKILL, f"the kill at {kill} did not land:\n{output}"
    status, output = start_or_resume(folder, arguments)
    assert status == 0, f"after {kills}:\n{output}"


def assert_same_record(folder: Path, other: Path) -> None:
    """All files of two runs are the same to the last bit, but for times, commands and places."""
    mine, theirs = (_files(each) for each in (folder, other))
    assert sorted(mine) == sorted(theirs), "other files"
    for name in mine:
        _assert_same_content(name, mine[name], theirs[name])


def _files(folder: Path) -> dict[str, Path]:
    """What a run leaves. W&B's own files have times in their names."""
    files = (file for file in folder.rglob("*") if file.is_file() and "wandb" not in file.relative_to(folder).parts)
    return {str(file.relative_to(folder)): file for file in files}


def _assert_same_content(name: str, mine: Path, theirs: Path) -> None:
    if name == "metrics.csv":
        assert _rows(mine) == _rows(theirs), name
    elif name == "summary.json":
        one, two = ({k: v for k, v in json.loads(each.read_text()).items() if not _varies(k)} for each in (mine, theirs))
        assert one == two, name
    elif name == "config.yaml":
        assert _settings(mine) == _settings(theirs), name
    elif name == "checkpoints/last.ckpt":
        assert_same(read_checkpoint(mine), read_checkpoint(theirs), name)
    elif name in ("checkpoints/best.ckpt", "checkpoints/weights.ckpt"):
        assert_same(read_checkpoint(mine)["state_dict"], read_checkpoint(theirs)["state_dict"], name)
    elif name != "index.html":  # the page shows times; it is made of the files that are compared here
        assert mine.read_bytes() == theirs.read_bytes(), name


def _settings(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if not line.startswith(("runs:", "name:"))]


def _varies(name: str) -> bool:
    return "seconds" in name or name in ("command", "time", "wall_seconds", "commit")  # as somebody may commit meanwhile


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return [{key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(stream)]


def assert_same(mine: Any, theirs: Any, place: str) -> None:
    """Two trees of tensors and plain values are equal, but for times and paths."""
    assert type(mine) is type(theirs), place
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), place
        for key in mine:
            if not _varies(str(key)) and key not in PLACES:
                assert_same(mine[key], theirs[key], f"{place}/{key}")
    elif isinstance(mine, list | tuple):
        assert len(mine) == len(theirs), place
        for number, (one, two) in enumerate(zip(mine, theirs, strict=True)):
            assert_same(one, two, f"{place}/{number}")
    elif isinstance(mine, torch.Tensor):
        assert torch.equal(mine, theirs), place
    else:
        assert mine == theirs or (mine != mine and theirs != theirs), f"{place}: {mine} {theirs}"
