"""What Optuna doesn't know of a trial, in its user attributes, and which trials count.

- ``enqueued``: what an enqueued trial will get from the search, see ``search_values``;
- ``values``: what is passed on to the training;
- ``best_only``: its weights stay only if it is the best trial;
- ``folder``, ``host``, ``pid`` and ``create_time``: the run's folder and its process, by which a later start finds out whether
  it still runs;
- ``again``: the number of the trial that this one repeats. A trial that was interrupted is enqueued anew with the same folder,
  in which its training resumes;
- ``surplus``: it was asked for when another machine had just taken the last one, or is a copy;
- ``diverged``, ``stopped`` or ``failed``: how it ended, in words.

Where machines share a study, any of them may be killed between any two steps, and another may do once more what it has begun.
Then there are two trials for one purpose, the same combination of a grid or the same repetition, and the first counts.
"""

import json
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials, of all by number, without those that were repeated later, are surplus or a copy."""
    repeated = {trial.user_attrs.get("again") for trial in trials}
    seen, kept = set(), []
    for trial in trials:
        purpose = _purpose(trial)
        if purpose not in seen and trial.number not in repeated and "surplus" not in trial.user_attrs:
            kept.append(trial)
        seen.add(purpose)
    return kept


def is_marked(trial: FrozenTrial) -> bool:
    """Return whether the machine that asked for a trial has said that it is its own."""
    return "host" in trial.user_attrs


def search_values(trial: FrozenTrial) -> dict[str, Any]:
    """Return what the search chose for a trial: indices of values and shares of distributions, by parameter."""
    return dict(trial.params or enqueued_values(trial) or {})


def enqueued_values(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return what an enqueued trial will get from the search, None for a trial that the search draws."""
    values: dict[str, Any] | None = trial.user_attrs.get("enqueued")
    if values is None:
        # A study from before ``enqueued`` has it only where Optuna keeps it for itself, which is documented nowhere.
        values = trial.system_attrs.get("fixed_params")
    return values


def _purpose(trial: FrozenTrial) -> str:
    """Return what two trials have in common where one is a copy of the other."""
    if "again" in trial.user_attrs:
        return f"again {trial.user_attrs['again']}"
    enqueued = enqueued_values(trial)
    return f"drawn {trial.number}" if enqueued is None else json.dumps(enqueued, sort_keys=True)
