"""One run as it was asked for, its folder, and how a later run finds that folder to resume from.

Imports neither torch nor Lightning, so that mistakes in the settings are answered at once.
"""

import csv
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.parser import flat, load_settings, parse, preset, settings_from, split
from configs.settings import Settings, SettingsError

MAY_CHANGE = (
    "trainer.max_epochs", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
    "trainer.progress_bar", "trainer.keep", "logger.name", "logger.mode", "logger.project", "logger.entity", "logger.group",
    "logger.run_name", "logger.panels", "logger.watch", "logger.log_model",
    "viz.every_n_epochs", "viz.log_every_n_epochs", "viz.maps", "viz.top_maps", "viz.metrics", "viz.sensitivity",
    "data.root", "data.archives", "data.cache", "data.cache_dir", "data.workers", "runs", "name",
)  # fmt: skip
"""Settings that may change in a resumed run; the run then ends otherwise, or in another place, but is still one run."""

ERROR_FILE = "error.txt"


@dataclass
class Run:
    """One run as it was asked for.

    settings: all of them. checkpoint: what it resumes from, None for a new run. command: what was typed. folder: its own, None
    until it is made, which is when nothing in the settings can be a mistake any more. changes: what differs from the settings
    of the run that it resumes.
    """

    settings: Settings
    checkpoint: Path | None
    command: str
    folder: Path | None = None
    changes: tuple[str, ...] = ()


def open_run(arguments: list[str]) -> Run:
    """Read the command line's arguments after ``train.py``.

    With ``resume=`` the settings of the interrupted run are the base, so that ``python train.py resume=runs/NAME`` is
    enough; of them only MAY_CHANGE can change.

    Raises:
        SettingsError: as ``configs.parser.parse``; nothing to resume; a setting that can't change was changed.
    """
    settings = parse(arguments)
    command = shlex.join(["python", "train.py", *arguments])
    pairs = split(arguments)
    words = dict(pairs)
    if settings.resume is None:
        if "resume" in words:
            raise SettingsError("resume=null: name what to resume, last or runs/NAME, or leave resume= out for a new run")
        return Run(settings, None, command)
    checkpoint = _checkpoint(settings)
    saved = _saved_settings(checkpoint)
    before = plain_leaves(saved)
    _refuse_presets(words, before, plain_leaves(settings), checkpoint.parent.parent)
    own = ("recipe", "model", "data", "config")  # the run's own, which its settings hold
    changed = parse([f"{key}={value}" for key, value in pairs if key not in own or value.startswith("{")], saved)
    changed.resume = None  # so that its config.yaml repeats the run and does not resume it
    return Run(changed, checkpoint, command, changes=tuple(changes_since(before, plain_leaves(changed))))


def _refuse_presets(words: dict[str, str], before: Mapping[str, Any], typed: Mapping[str, Any], folder: Path) -> None:
    """Raise SettingsError for a preset or file that isn't that of the run. Typed again as for the first start, it is."""
    wanted: dict[str, Any] = {}
    for group in ("recipe", "model", "data", "config"):
        if group not in words or words[group].startswith("{"):
            continue
        if group == "config":
            wanted = dict(typed)
        elif group == "recipe":
            wanted = {key: typed[key] for key in preset(group, words[group])}
        else:
            own = "model." if group == "model" else "data.name"
            wanted = {key: value for key, value in preset(group, words[group]).items() if key.startswith(own)}
        for key, value in wanted.items():
            if before[key] != value and key not in MAY_CHANGE:
                raise SettingsError(f"{group}={words[group]}: the run in {folder} has {key}={before[key]}; leave {group}= out")


def plain_leaves(settings: Settings) -> dict[str, object]:
    """Return all settings by dotted key."""
    return {key: value for key, value in flat(settings).items() if key != "resume"}


def changes_since(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return what may change and has, with what it was. A setting that is only in one of both is of another version.

    Raises:
        SettingsError: something else has changed; it is named.
    """
    changed = [key for key in now if key in before and before[key] != now[key] and key not in ("runs", "name")]
    if refused := [key for key in changed if key not in MAY_CHANGE and key != "trainer.precision"]:
        names = ", ".join(f"{key} (was {before[key]})" for key in refused)
        raise SettingsError(f"{names} can't change in a resumed run; leave out resume= to start a new one")
    return [f"{key} {before[key]} -> {now[key]}" for key in changed]


def _saved_settings(checkpoint: Path) -> Settings:
    """Return the settings of an interrupted run: those of its ``config.yaml``, or where it is damaged, of its checkpoint."""
    folder = checkpoint.parent.parent
    file = folder / "config.yaml"
    try:
        return load_settings(file)
    except SettingsError as problem:
        from lightning_modules.checkpoints import read_checkpoint  # here, as torch takes seconds

        try:
            return settings_from(read_checkpoint(checkpoint)["settings"], str(checkpoint))
        except (SettingsError, KeyError, TypeError, AttributeError):
            if file.is_file():
                raise problem from None
            raise SettingsError(f"{checkpoint}: {folder} has no config.yaml, so it is not a run's folder") from None


def _checkpoint(settings: Settings) -> Path:
    """Return the checkpoint to resume from. ``last`` is the newest of all runs, of those of its name where ``name=`` is set."""
    assert settings.resume is not None
    if settings.resume == "last":
        checkpoints = list(Path(settings.runs).glob("*/checkpoints/last.ckpt"))
        if settings.name:
            numbered = re.compile(re.escape(settings.name) + r"(-\d+)?")
            checkpoints = [file for file in checkpoints if numbered.fullmatch(file.parts[-3])]
        if not checkpoints:
            raise SettingsError(
                f"resume=last: no checkpoint in {settings.runs}/{settings.name or ''}* of a run that has not ended; "
                "name the run's folder (resume=runs/NAME) or start without resume"
            )
        return max(checkpoints, key=lambda file: file.stat().st_mtime)
    path = Path(settings.resume)
    try:
        checkpoint = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
        found = checkpoint.is_file()
    except OSError as problem:
        raise SettingsError(f"resume={settings.resume}: {problem.strerror}") from problem
    if not found:
        folder = checkpoint.parent.parent
        if read_summary(folder / "summary.json") is None:
            raise SettingsError(f"resume={settings.resume}: there is no checkpoint {checkpoint}")
        weights = any(folder.glob("checkpoints/*.ckpt"))
        anew = f"start anew from its weights with model.weights={folder}" if weights else "start anew without resume="
        raise SettingsError(
            f"resume={settings.resume}: that run has ended, and its optimiser's state is gone, without which nothing can be "
            f"resumed; {anew} (a run with trainer.keep=all can be trained longer)"
        )
    return checkpoint


def _base_name(settings: Settings) -> str:
    return settings.name or f"{settings.model.name}-{settings.data.name}-seed{settings.seed}"


def new_folder(settings: Settings) -> Path:
    """Make the first free folder of the run's name, here and now, so that two runs never share one.

    Of processes that train together only the first asks for it. Raises SettingsError where none can be made.
    """
    base = _base_name(settings)
    number = 1
    while True:
        folder = Path(settings.runs) / (base if number == 1 else f"{base}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
        except OSError as problem:
            raise SettingsError(f"runs={settings.runs}: {problem.strerror}; name a folder that can be written") from problem


def resume_hint(folder: Path) -> str:
    """Say in one sentence how to resume a run that was cut off."""
    if (folder / "checkpoints/last.ckpt").exists():
        return f"Finished epochs are kept; resume with: python train.py resume={folder}"
    return "No epoch had ended: start it anew"


def exit_code_for_agent(status: int) -> int:
    """Return an exit status for a run that ended early but not by a fault: 0 where W&B's agent would count it as a failure."""
    return 0 if "WANDB_SWEEP_ID" in os.environ else status


def read_rows(file: Path) -> list[dict[str, float]]:
    """Read the rows of a ``metrics.csv``; cells that are empty are left out. Raises SettingsError where it is damaged."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(stream)]
    except (ValueError, TypeError, csv.Error) as problem:
        raise SettingsError(f"{file} is damaged: {problem}") from problem


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read the rows of a run so far; none where there is no ``metrics.csv``, or a damaged one."""
    file = folder / "metrics.csv"
    try:
        return read_rows(file) if file.is_file() else []
    except (SettingsError, OSError):
        return []


def read_summary(file: Path) -> dict[str, Any] | None:
    """Read a ``summary.json``; None where there is none, or only a damaged one: then the run has not finished."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
