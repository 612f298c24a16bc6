"""What was meant by a key that isn't known: an older name, a word that other projects use, or a slip of the keyboard."""

import difflib

from configs.settings import fields

RENAMED = {"viz.answers": "viz.sensitivity", "viz.numbers": "viz.metrics", "viz.strongest": "viz.top_maps"}
"""Settings by the names that they once had: command lines, sweeps and config files of that time may still hold them."""

REMOVED = {
    "optim.auxiliary_weight": "the default recipe does better without an auxiliary classifier",
    "model.smooth_start": "filters that decay lose the noise of their start without it",
}
"""Settings that once were, and why they are gone."""

GROUPS = ("recipe", "model", "data", "logger", "config")
SYNONYMS = {
    "learning_rate": "optim.lr", "epochs": "trainer.max_epochs", "num_epochs": "trainer.max_epochs", "batch": "data.batch_size",
    "bs": "data.batch_size", "optimizer": "optim.name", "optimiser": "optim.name", "wd": "optim.weight_decay",
    "warmup": "optim.warmup_epochs", "scheduler": "optim.schedule", "gpus": "trainer.devices", "num_workers": "data.workers",
    "dataset": "data", "arch": "model", "architecture": "model", "network": "model", "output_dir": "runs", "out": "runs",
    "img_size": "data.image_size", "resolution": "data.image_size", "random_seed": "seed", "wandb": "logger",
    "amp": "trainer.precision",
}  # fmt: skip
"""Names that other projects have for settings."""

CUTOFF = 0.75  # of difflib's likeness; below it a hint is worse than none


def explain_unknown(key: str) -> str:
    """Say of a key that isn't known what was meant, or where to look."""
    known = [name for name, _ in fields()]
    if key in RENAMED:
        return f"{key} is now called {RENAMED[key]}"
    if key in REMOVED:
        return f"{key} is gone, as {REMOVED[key]}: leave it out"
    if any(name.startswith(f"{key}.") for name in known):
        return f"{key} is a group of settings: set {key}.NAME=value; python train.py --help shows them"
    meant = suggest(key)
    return f"unknown setting {key}; " + (f"did you mean {meant}?" if meant else "python train.py --help shows every key")


def suggest(key: str) -> str | None:
    """Return the setting or group that a key was most likely meant for, None where none is near."""
    known = {name: name for name, _ in fields()}
    last_parts = {name.rpartition(".")[2]: name for name in known}
    whole = SYNONYMS | known | {group: group for group in GROUPS}
    # Cut, as difflib's time grows by the square.
    spelt = [part.lower().replace("-", "_")[:100] for part in (key, key.rpartition(".")[2])]
    for wanted in spelt:
        if found := (last_parts | whole).get(wanted):
            return found
    for candidates in (whole, last_parts):  # modle is nearer to mode, of logger.mode, than to model
        for wanted in spelt:
            if close := difflib.get_close_matches(wanted, candidates, 1, CUTOFF):
                return candidates[close[0]]
    return None
