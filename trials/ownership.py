"""A sweep's folder belongs to the study that made it, whatever became of either.

Two names may become one folder, a study's database may be deleted or put back, a folder may be copied. A study that took the
trials of another for its own would resume them with other settings and show their figures.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial

from configs import SettingsError
from configs.files import atomic_write_text

OWNER = "study.json"


def check_owner(folder: Path, name: str, database: Path | None) -> None:
    """Refuse a folder that can't be this study's, before anything is written.

    Args:
        folder: of the sweep.
        name: of the study.
        database: the study's, where it is a file in that folder.

    Raises:
        SettingsError: the folder is that of a study of another name, or of one whose database is gone.
    """
    owner = _read_owner(folder)
    if owner is not None and owner["name"] != name:
        raise _refusal(folder, f"belongs to the sweep {owner['name']!r}, not to {name!r}")
    if owner is not None and database is not None and not database.is_file():
        raise _refusal(folder, f"belongs to a study of this sweep whose database {database} is gone")


def claim_folder(folder: Path, name: str, identity: str, trials: Sequence[FrozenTrial]) -> None:
    """Note in a folder which study it belongs to.

    Args:
        folder: of the sweep; it is made where it isn't there.
        name: of the study.
        identity: of the study, which no other has.
        trials: of the study.

    Raises:
        SettingsError: the folder is another study's, or holds trials that are not of this one.
    """
    owner = _read_owner(folder)
    if owner is None:
        own = {Path(trial.user_attrs["folder"]).name for trial in trials if "folder" in trial.user_attrs}
        strange = sorted(path.name for path in folder.glob("trial-*") if path.is_dir() and path.name not in own)
        if strange:
            raise _refusal(folder, f"holds {strange[0]}, which no trial of this study made")
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / OWNER, json.dumps({"name": name, "id": identity}))
    elif owner["id"] != identity:
        raise _refusal(folder, f"belongs to another study of the sweep {name!r}")


def fetch_run(known: Path, folder: Path, identity: str) -> None:
    """Move an interrupted run to a folder that isn't there yet, where this machine sees it and no training writes to it.

    Args:
        known: the run's folder, which another machine gave its name; here that may name nothing, or a run of another study.
        folder: where it is resumed.
        identity: of the study.
    """
    owner = _read_owner(known.parent)
    if owner is None or owner["id"] != identity or not known.is_dir():
        return
    with contextlib.suppress(Timeout, OSError), FileLock(known / ".lock", timeout=0):  # the lock that trainings take
        known.rename(folder)


def _read_owner(folder: Path) -> dict[str, str] | None:
    """Return the name and the identity of the study that a folder belongs to, None where that isn't noted."""
    file = folder / OWNER
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
        return {key: str(owner[key]) for key in ("name", "id")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as problem:
        raise SettingsError(f"{file}, which says whose folder this is, is damaged; change the sweep's name") from problem


def _refusal(folder: Path, reason: str) -> SettingsError:
    return SettingsError(f"{folder} {reason}: change the sweep's name, take another --runs, or move the folder away")
