"""Whether a training can be resumed from a checkpoint: asked before it begins, and answered in one line.

Lightning would load what fits and start anew with the rest, or fail in the middle. What a checkpoint must hold follows from
what is about to be trained.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import Callback

from configs import Settings, SettingsError
from configs.parser import settings_from
from experiment.checkpoint_io import AtomicCheckpointIO
from experiment.run_folder import changes_since, plain_leaves
from lightning_modules.checkpoints import LAST
from lightning_modules.classifier import Classifier

PARTS = {
    "epoch": int, "global_step": int, "loops": dict, "state_dict": dict, "callbacks": dict, "class_names": list,
    "settings": dict, "optimizer_states": list, "lr_schedulers": list, "pytorch-lightning_version": str,
}  # fmt: skip
"""What a checkpoint must hold, of which kind."""


def check_checkpoint(
    path: Path,
    settings: Settings,
    precision: str,
    classifier: Classifier,
    class_names: list[str],
    callbacks: Sequence[Callback],
) -> int:
    """Read a checkpoint and compare it with what is to be resumed from it.

    Args:
        path: of the checkpoint.
        settings: of the resumed run.
        precision: to compute with.
        classifier: to be trained.
        class_names: of its data.
        callbacks: of the resumed run.

    Returns:
        How many epochs it has behind it.

    Raises:
        SettingsError: it can't be read, or can't be resumed from with these; the message says what it is and what to use.
    """
    checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    own = path.parent / LAST

    def refuse(reason: str, otherwise: str = "start anew without resume=") -> SettingsError:
        return SettingsError(f"{path} {reason}; {f'use {own}' if path.name != LAST and own.is_file() else otherwise}")

    missing = [part for part, kind in PARTS.items() if not isinstance(checkpoint.get(part), kind)]
    if missing and "state_dict" in checkpoint and "optimizer_states" in missing:
        raise refuse("holds weights only, from which nothing can be resumed", f"start anew with model.weights={path}")
    if missing:
        raise refuse(f"is no checkpoint of this project: it has no {', '.join(missing)}")
    if not re.fullmatch(r"\d+(\.\w+)+", checkpoint["pytorch-lightning_version"]):
        raise refuse(f"is of no version of Lightning: {checkpoint['pytorch-lightning_version']}")
    if len(checkpoint["optimizer_states"]) != 1 or len(checkpoint["lr_schedulers"]) != 1:
        raise refuse("holds no state of the optimiser and its schedule")
    saved = settings_from(checkpoint["settings"], str(path))
    changes_since(plain_leaves(saved), plain_leaves(settings))
    asked = saved.trainer.precision
    before = checkpoint.get("precision", precision if asked == "auto" else asked)  # an older one knows only what was asked for
    if before != precision:
        run = path.parent.parent
        raise SettingsError(f"trainer.precision: {run} computes in {before}, not {precision}; add trainer.precision={before}")
    if checkpoint["class_names"] != class_names:
        raise refuse(
            f"was trained on {len(checkpoint['class_names'])} classes, which aren't the {len(class_names)} of the data"
        )
    if problem := _compare_weights(checkpoint["state_dict"], classifier):
        raise refuse(f"holds another network: {problem}")
    states = checkpoint["callbacks"]
    if lost := [each.state_key for each in callbacks if each.state_dict() and each.state_key not in states]:
        raise refuse(f"lacks what {', '.join(lost)} had recorded, as another version of this program would leave it")
    rows = states["CSVRecorder"].get("rows") if isinstance(states["CSVRecorder"], dict) else None
    epochs: int = checkpoint["epoch"] + 1
    if not isinstance(rows, list) or len(rows) != epochs:
        raise refuse(f"has {epochs} epochs behind it, but other rows of figures")
    return epochs


def describe_changes(changes: Sequence[str], epochs: int) -> str:
    """Say from where a run is resumed and what is no longer as it was."""
    lines = [f"Resumed after epoch {epochs}" + (f", with changes: {'; '.join(changes)}" if changes else "")]
    if any(change.startswith("trainer.max_epochs") for change in changes):
        lines.append("The learning rate and the sizes of the images now follow the schedule of so many epochs, from here on:")
        lines.append("the run ends otherwise than one that was started with them.")
    return "\n".join(lines)


def _compare_weights(saved: dict[str, Any], classifier: Classifier) -> str:
    """Say how the tensors in a checkpoint differ from the network's in name or shape; nothing where they don't."""
    own = classifier.state_dict()
    for name, tensor in own.items():
        if name not in saved:
            return f"{name} is missing"
        if getattr(saved[name], "shape", None) != tensor.shape:
            return f"{name} has another shape"
    return next((f"{name} is not in this one" for name in saved if name not in own), "")
