"""Of a sweep's trials only the best one keeps its weights, unless the trainings were told by ``trainer.keep`` what to keep.

A trial that failed is left as it is, since its training may be resumed by hand, until it is run once more.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from optuna.trial import TrialState

from trials.study import Study


def names_what_to_keep(words: Iterable[str]) -> bool:
    """Return whether some word of the trials' command sets ``trainer.keep``, by itself or as one of several settings."""
    return any(re.search(r"\btrainer\W+keep\b", word) for word in words)


def remove_other_weights(study: Study) -> None:
    """Remove the checkpoints of the trials here that have ended and are not the best."""
    best = study.best_trial()
    needed = {
        trial.user_attrs.get("folder")
        for trial in study.trials
        if trial.state in (TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL) or (best and trial.number == best.number)
    }
    for trial in study.optuna.get_trials(deepcopy=False):
        if not trial.user_attrs.get("best_only") or not trial.state.is_finished() or not study.is_here(trial):
            continue
        if (folder := trial.user_attrs["folder"]) not in needed:
            shutil.rmtree(Path(folder) / "checkpoints", ignore_errors=True)
