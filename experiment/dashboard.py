"""What W&B shows of a run: under which names, in which order, and how often pictures.

W&B gets every column of ``metrics.csv`` by its own name, which sweeps, filters and tables ask for, but hidden from its
automatic panels. What is looked at stands there once more by another name: W&B makes a section of each prefix and sorts
sections and panels by name, so ``accuracy/`` comes first, then ``learned/``, ``look/``, ``loss/``, ``numbers/`` and
``results/``. `wandb leet` sorts by name too, but knows nothing of hidden names.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs import Settings
from viz_callbacks.callbacks.base import wandb_images

if TYPE_CHECKING:
    import wandb

Histogram = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Counts (N,) and the edges of their bins (N + 1,)."""

LAYERS = tuple(f"conv{number}" for number in range(1, 6))
PARTS = ("train", "val", "test")

PANELS: dict[str, str] = {
    **{f"{part}/accuracy": f"accuracy/{part}" for part in PARTS},
    "test/top5": "accuracy/test_top5",
    "test/mean_per_class": "accuracy/test_mean_per_class",
    **{f"learned/{layer}": f"learned/{layer}" for layer in LAYERS},
    **{f"dead/{layer}": f"learned/dead_{layer}" for layer in LAYERS},
    "low_frequency/conv1": "learned/low_frequency_conv1",
    **{f"{part}/loss": f"loss/{part}" for part in PARTS},
    "lr": "numbers/lr",
    "gradient_norm": "numbers/gradient_norm",
    **{
        name: f"numbers/{name.replace('/', '_')}"
        for name in (
            "grid2/conv1", "grid4/conv1", "detail/conv1", "detail/conv5", "change/conv1", "change/conv5", "change/denet",
            "inside/chance", "inside/conv5", "inside/denet", "pointing/denet", "deletion/denet", "insertion/denet",
            "likeness/denet",
        )
    },
}  # fmt: skip
"""The figures that are looked at: from the column of ``metrics.csv`` to W&B's panel."""

HOUSEKEEPING = ("epoch", "seconds", "range")
"""Hidden whatever is shown: names, or what stands before their slash."""

PROBES = 8
"""Of more probes, so many have their sheet in W&B where not all pictures go there."""

PICTURE_FILES = 350
"""Pictures of a run in W&B. It advises against more than 1,000 files a run, and the table of test images has up to 300;
more would also be more than 150 MB."""


def picture_panel(key: str) -> str | None:
    """Return the name under which a picture is looked at, from its own, such as ``filters/conv1``; None for the others."""
    kind, _, place = key.partition("/")
    if kind == "overview" and place.startswith("each/"):
        return f"look/{place.removeprefix('each/')}"
    return {"filters": f"look/filters_{place}", "top_activations": f"look/strongest_{place}"}.get(kind)


def picture_interval(settings: Settings) -> int:
    """Return every how many epochs pictures go to W&B: as is set, or such that a run has at most PICTURE_FILES of them."""
    viz = settings.viz
    if viz.log_every_n_epochs or not viz.every_n_epochs:
        return viz.log_every_n_epochs
    probes, layers = len(viz.probes) or PROBES, len(LAYERS) if viz.top_maps else 0
    each_epoch = 1 + layers + (1 + probes * (len(LAYERS) + 2) if settings.logger.panels == "all" else min(probes, PROBES))
    epochs = max(1, PICTURE_FILES // each_epoch)
    return viz.every_n_epochs * math.ceil(settings.trainer.max_epochs / epochs / viz.every_n_epochs)


class Dashboard:
    """Sends a run's rows to W&B as they are to be seen. Only the mirror's thread calls it, as it waits for W&B.

    Args:
        everything: show all figures and pictures.
        every_n_epochs: send pictures and histograms every so many epochs, and the last; 0 for never.
        last_epoch: the number of epochs.
    """

    def __init__(self, *, everything: bool = False, every_n_epochs: int = 1, last_epoch: int = 0) -> None:
        self.everything = everything
        self.every_n_epochs = every_n_epochs
        self.last_epoch = last_epoch
        self._defined: set[str] = set()
        self._best: float | None = None

    def is_due(self, epoch: float) -> bool:
        """Tell whether pictures of this epoch go to W&B."""
        return self.every_n_epochs > 0 and (epoch % self.every_n_epochs == 0 or epoch == self.last_epoch)

    def pictures(self, keys: Mapping[str, object]) -> dict[str, str]:
        """Return which of an epoch's pictures are shown: from their own names to those in W&B."""
        panels = {key: picture_panel(key) for key in keys}
        if self.everything:
            return {key: panel or key for key, panel in panels.items()}
        surplus = [key for key in keys if key.startswith("overview/each/")][PROBES:]
        return {key: panel for key, panel in panels.items() if panel and key not in surplus}

    def is_hidden(self, name: str) -> bool:
        """Tell whether W&B makes no panel of a name by itself."""
        if name.partition("/")[0] in HOUSEKEEPING or name in PANELS.keys() - PANELS.values():
            return True
        return not (self.everything or name in PANELS.values() or name.startswith("look/"))

    def log(
        self,
        run: "wandb.Run",
        row: Mapping[str, float],
        files: Mapping[str, tuple[Path, str]],
        ranges: Mapping[str, float],
        histograms: Mapping[str, Histogram],
    ) -> None:
        """Send the row of an epoch with its pictures, each a file with its caption, and histograms.

        The ranges of all pictures, which are in the folder's indices too, go with it only where everything is shown.
        """
        import wandb

        content: dict[str, object] = {**row, **{PANELS[name]: row[name] for name in PANELS if name in row}}
        if self.is_due(row["epoch"]):
            shown = self.pictures(files)
            content |= wandb_images({panel: files[key] for key, panel in shown.items()})
            content |= ranges if self.everything else {}
            content |= {name: wandb.Histogram(np_histogram=histogram) for name, histogram in histograms.items()}
        for name in content.keys() - self._defined:
            run.define_metric(
                name,
                step_metric=None if name == "epoch" else "epoch",
                hidden=self.is_hidden(name) and name not in histograms,
                summary="max" if name == "val/accuracy" else None,
            )
        self._defined |= content.keys()
        run.log(content)
        if "val/accuracy" in row:
            # Beside the maximum that W&B keeps of it, which is no plain value: its tables and charts can't sort by that.
            if self._best is None:  # a resumed run has one already
                self._best = run.summary.get("best/val_accuracy", 0.0)  # type: ignore[no-untyped-call]  # W&B gives it no types
            self._best = max(self._best or 0.0, row["val/accuracy"])
            run.summary["best/val_accuracy"] = self._best
