"""One run as it was asked for, its folder, and how a later run finds that folder to resume from.

Imports neither torch nor Lightning, so that mistakes in the settings are answered at once.
"""

import csv
import os
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from configs.parser import parse
from configs.settings import Settings, SettingsError

_FIXED_WHEN_RESUMING = ("model", "data", "optim", "seed")
_MAY_MOVE = ("root", "archives", "cache", "cache_dir", "workers")

ERROR_FILE = "error.txt"


@dataclass
class Run:
    """One run as it was asked for.

    settings: all of them. checkpoint: what it resumes from, None for a new run. command: what was typed. folder: its own, None
    until it is made, which is when nothing in the settings can be a mistake any more.
    """

    settings: Settings
    checkpoint: Path | None
    command: str
    folder: Path | None = None


def open_run(arguments: list[str]) -> Run:
    """Read the command line's arguments after ``train.py``.

    With ``resume=`` the settings of the interrupted run are the base, so that ``python train.py resume=runs/NAME`` is
    enough; what decides the result (model, data, optim, seed) can't change.

    Raises:
        SettingsError: as ``configs.parser.parse``; nothing to resume; a setting that can't change was changed.
    """
    settings = parse(arguments)
    command = shlex.join(["python", "train.py", *arguments])
    if settings.resume is None:
        return Run(settings, None, command)
    checkpoint = _checkpoint(settings)
    folder = checkpoint.parent.parent
    saved = parse([f"config={folder / 'config.yaml'}"])
    for group in ("model", "data"):
        asked = [each for each in arguments if each.removeprefix("--") == f"{group}={getattr(settings, group).name}"]
        if asked and getattr(settings, group).name != getattr(saved, group).name:
            raise SettingsError(f"{asked[0]}: the run in {folder} has {group}={getattr(saved, group).name}")
    own = r"(--)?(config|recipe|model|data)="  # the run's own, which its config.yaml holds
    dotted = [each for each in arguments if re.match(r"(--)?[\w.]+=", each) and not re.match(own, each)]
    resumed = parse([f"config={folder / 'config.yaml'}", *dotted])
    _refuse_changes(saved, resumed)
    return Run(resumed, checkpoint, command)


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
    """Read the rows of a ``metrics.csv``; cells that are empty are left out."""
    with file.open(newline="") as stream:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(stream)]
