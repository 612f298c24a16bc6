"""Where a run lives on disk, and how a later run finds it to go on from there."""

import csv
import re
from dataclasses import asdict
from pathlib import Path

from configs.parser import parse
from configs.settings import Settings, SettingsError

_FIXED_WHEN_RESUMING = ("model", "data", "optim", "seed")
_MAY_MOVE = ("root", "archives", "cache", "cache_dir", "workers")


def open_run(arguments: list[str]) -> tuple[Settings, Path | None]:
    """Settings for the words after ``train.py``, and the checkpoint to go on from (None for a new run).

    With ``resume=`` the settings of the interrupted run are the base, so that ``python train.py resume=runs/NAME`` is
    enough; what decides the result (model, data, optim, seed) can't change.

    Raises:
        SettingsError: as ``configs.command_line.parse``; nothing to resume; a setting that can't change was changed.
    """
    settings = parse(arguments)
    if settings.resume is None:
        return settings, None
    checkpoint = _checkpoint(settings)
    folder = checkpoint.parent.parent
    saved = parse([f"config={folder / 'config.yaml'}"])
    for group in ("model", "data"):
        asked = [word for word in arguments if word.removeprefix("--") == f"{group}={getattr(settings, group).name}"]
        if asked and getattr(settings, group).name != getattr(saved, group).name:
            raise SettingsError(f"{asked[0]}: the run in {folder} has {group}={getattr(saved, group).name}")
    own = r"(--)?(config|recipe|model|data)="  # the run's own, which its config.yaml holds
    dotted = [word for word in arguments if re.match(r"(--)?[\w.]+=", word) and not re.match(own, word)]
    resumed = parse([f"config={folder / 'config.yaml'}", *dotted])
    _refuse_changes(saved, resumed)
    return resumed, checkpoint


def _checkpoint(settings: Settings) -> Path:
    assert settings.resume is not None
    if settings.resume == "last":
        numbered = re.compile(re.escape(_base_name(settings)) + r"(-\d+)?")
        checkpoints = [
            file for file in Path(settings.runs).glob("*/checkpoints/last.ckpt") if numbered.fullmatch(file.parts[-3])
        ]
        found = sorted(checkpoints, key=lambda file: file.stat().st_mtime)
        if not found:
            raise SettingsError(
                f"resume=last: no checkpoint in {settings.runs}/{_base_name(settings)}*; "
                "name the run's folder (resume=runs/NAME) or start without resume"
            )
        checkpoint = found[-1]
    else:
        path = Path(settings.resume)
        checkpoint = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
        if not checkpoint.is_file():
            raise SettingsError(f"resume={settings.resume}: there is no checkpoint {checkpoint}")
    folder = checkpoint.parent.parent
    if not (folder / "config.yaml").is_file():
        raise SettingsError(f"resume={settings.resume}: {folder} has no config.yaml, so it is not a run's folder")
    return checkpoint


def _refuse_changes(before: Settings, now: Settings) -> None:
    for group in _FIXED_WHEN_RESUMING:
        old, new = asdict(before)[group], asdict(now)[group]
        if old == new:
            continue
        changed = [] if group == "seed" else [key for key in old if old[key] != new[key] and key not in _MAY_MOVE]
        if group == "seed" or changed:
            names = ", ".join(f"{group}.{key}" for key in changed) or "seed"
            raise SettingsError(f"{names} can't change in a resumed run; leave out resume= to start a new one")


def _base_name(settings: Settings) -> str:
    return settings.name or f"{settings.model.name}-{settings.data.name}-seed{settings.seed}"


def new_folder(settings: Settings) -> Path:
    """The first free folder of the run's name, made here and now so that two runs never share one.

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


def read_rows(file: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv``; cells that are empty are left out."""
    with file.open(newline="") as stream:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(stream)]
