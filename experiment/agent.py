"""A run that W&B's agent has started: what its sweep calls it, and how it ends."""

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from configs.parser import split
from configs.run_name import name_by_what_varies

if TYPE_CHECKING:
    import wandb

SWEEP_SECONDS = 10
"""For W&B's answer to what its sweep varies."""


def trial_name(run: "wandb.Run", config: Mapping[str, Any]) -> str:
    """Return the name of a sweep's run by what its sweep varies, such as ``alexnet lr=0.01``.

    The agent passes on all parameters alike, so W&B is asked which vary. Empty outside a sweep and where it doesn't say.

    Args:
        run: online.
        config: flat settings, and the command.
    """
    if "WANDB_SWEEP_ID" not in os.environ:
        return ""
    import wandb

    words = dict(split(shlex.split(config["command"])[2:]))  # after python train.py
    with contextlib.suppress(Exception):  # whatever W&B raises, a run can do without its name
        path = f"{run.entity}/{run.project}/{os.environ['WANDB_SWEEP_ID']}"
        sweep = wandb.Api(timeout=SWEEP_SECONDS).sweep(path)  # type: ignore[no-untyped-call]  # W&B leaves its types out
        return name_by_what_varies({**config, **words}, list(_varied(sweep.config["parameters"])))
    return ""


def _varied(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a sweep's parameters that take more than one value."""
    for key, entry in parameters.items():
        if "parameters" in entry:
            yield from _varied(entry["parameters"], f"{prefix}{key}.")
        elif "value" not in entry and len(entry.get("values", "many")) > 1:
            yield f"{prefix}{key}"
