"""The figures that ``train.py`` records, by name: the columns of ``metrics.csv`` and the evaluation in ``summary.json``.

A test compares the list with what trainings have recorded. What the names mean: docs/metrics.md.
"""

from configs import Settings
from trials.mistakes import hint

LAYERS = tuple(f"conv{number}" for number in range(1, 6))
PICTURES = (*LAYERS, "denet", "gradient")
CONTROLLED = ("conv5", "denet")
RANDOMISED = ("conv1", "fc6", "fc8")
PARTS = ("train", "val", "test", "final/train", "final/test")

EACH_EPOCH = ("epoch", "seconds", "lr", "gradient_norm")
OF_PREDICTIONS = tuple(f"{part}/{name}" for part in PARTS for name in ("loss", "accuracy", "top5", "mean_per_class"))
OF_VISUALISATION = (
    *(f"{name}/{picture}" for name in ("grid2", "grid4", "detail", "inside", "pointing", "change") for picture in PICTURES),
    "inside/chance",
    *(f"{name}/{picture}" for name in ("deletion", "insertion") for picture in CONTROLLED),
    *(f"likeness/{picture}" for picture in ("denet", "random_start", "random_weights")),
    *(f"randomised/{picture}/{layer}" for picture in CONTROLLED for layer in RANDOMISED),
    *(f"{name}/{layer}" for name in ("dead", "learned", "effective_rank") for layer in LAYERS),
    "low_frequency/conv1",
)
OF_CLIPPING = tuple(f"clipped/{layer}" for layer in LAYERS)
SECONDS = "seconds/"  # of each part of the visualisation


def explain_unknown_metric(name: str) -> str:
    """Say what was meant by a name that no run records; nothing for one that runs do."""
    known = (*OF_PREDICTIONS, *EACH_EPOCH, *OF_VISUALISATION, *OF_CLIPPING)
    if name in known or name.startswith(SECONDS):
        return ""
    return f"no run records {name}; {hint(name, known)}"


def why_not_logged(name: str, settings: Settings) -> str:
    """Say why a run with these settings doesn't record a figure; nothing where it does."""
    viz = settings.viz
    if name.startswith("val/") and settings.data.val_fraction == 0:
        return "a run without validation images records none; raise data.val_fraction, or take another metric"
    if name in OF_VISUALISATION and not (viz.metrics and viz.every_n_epochs):
        return "a run with viz.metrics=false or viz.every_n_epochs=0 records none"
    if name in OF_CLIPPING and not settings.optim.filter_radius:
        return "a run without optim.filter_radius records none"
    return ""
