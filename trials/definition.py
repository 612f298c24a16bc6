"""What must stay the same for a study to be resumed, so that its trials can be compared: its definition."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from configs import SettingsError
from experiment.run_folder import MAY_CHANGE
from trials.sweep_file import Sweep

SEARCHED = ("program", "method", "metric", "parameters", "command")
NO_FIGURE_DEPENDS_ON = {"logger", *MAY_CHANGE} - {"trainer.max_epochs"}  # how long trials train, theirs do


def definition_of(sweep: Sweep, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what decides a sweep's figures: parts of its file, and the further settings that a command gives each training."""
    kept = [word for word in overrides if word.removeprefix("--").partition("=")[0] not in NO_FIGURE_DEPENDS_ON]
    return {key: sweep.definition.get(key) for key in SEARCHED} | {"overrides": kept}


def check_definition(before: Mapping[str, Any], now: Mapping[str, Any], sweep: Sweep, folder: Path) -> None:
    """Refuse to go on with something else than what the trials began with.

    Raises:
        SettingsError: the file, or the settings after its name, have changed.
    """
    began = f"the trials of {sweep.name!r} in {folder} began"
    if any(before[key] != now[key] for key in SEARCHED):
        raise SettingsError(f"{sweep.file} has changed since {began}: undo that, or change its name")
    said = before.get("overrides", now["overrides"])  # a study from before they were noted has none
    if said != now["overrides"]:
        words, other = " ".join(said) or "no such settings", " ".join(now["overrides"]) or "none"
        raise SettingsError(f"{began} with {words}, not with {other}: repeat that, or change its name")


def wait_for_definition(study: optuna.Study, patience: float) -> None:
    """Wait until the machine that created a study has enqueued its trials, unless it has died on the way.

    It has where no trial is added for ``patience`` seconds.
    """
    enqueued, until = 0, time.monotonic() + patience
    while "definition" not in study.user_attrs and time.monotonic() < until:
        time.sleep(0.2)
        if (count := len(study.get_trials(deepcopy=False))) > enqueued:
            enqueued, until = count, time.monotonic() + patience
