"""``train.py`` with a tiny network, killed by signal 9 at the n-th passage of a named point.

``python -m tests.faults.killed_run POINT PASSAGE [ARGUMENT OF TRAIN.PY ...]``; the point ``none`` kills nothing. Of several
processes that train together all are killed, as by a power cut.
"""

import fnmatch
import io
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

import experiment.run
import train
from configs import ModelSettings
from experiment.csv_recorder import CSVRecorder
from experiment.wandb_mirror import WandbMirror
from lightning_modules.classifier import Classifier
from lightning_modules.networks.layers import LocalResponseNorm
from tests.small_network import small_network

FILES = {
    "settings": "config.yaml", "split": "train.txt", "picture": "epoch-*.jpg", "sprite": "epoch-*.webp", "index": "index.json",
    "metrics": "metrics.csv", "page": "index.html", "best checkpoint": "best.ckpt", "checkpoint": "last.ckpt",
    "kept weights": "weights.ckpt",
    "predictions": "predictions.csv", "summary": "summary.json",
}  # fmt: skip
"""Files by the pattern of their names. ``before`` a file: it is written, but under the name of a partial file."""

CALLS: dict[str, tuple[Any, str]] = {
    "batch": (Classifier, "training_step"),
    "validation batch": (Classifier, "validation_step"),
    "row": (CSVRecorder, "on_train_epoch_end"),
    "W&B row": (WandbMirror, "log_metrics"),
    "W&B pictures": (WandbMirror, "log_pictures"),
    "test batch": (Classifier, "test_step"),
    "end of the run": (experiment.run, "conclude"),
}
"""Functions; a point is passed where one is called."""


class Killer:
    """Kills this process when ``pass_by`` has been called so often."""

    def __init__(self, passage: int) -> None:
        self.left = passage

    def pass_by(self) -> None:
        rank = os.environ.get("LOCAL_RANK")  # Lightning sets it in all processes once there are several
        self.left -= 1
        if self.left == 0 and rank is None:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.left == 0 and rank == "0":
            os.killpg(os.getpgrp(), signal.SIGKILL)


def watch(point: str, killer: Killer) -> None:
    """Let the killer know of each passage of the point."""
    when, _, file = point.partition(" ")
    if point == "none":
        return
    if point == "half a checkpoint":
        torch.save = write_half(killer, torch.save)
    elif point in CALLS:
        owner, name = CALLS[point]
        setattr(owner, name, after(killer, getattr(owner, name)))
    else:
        pattern, replace = FILES[file], os.replace

        def watched(source: Any, target: Any, **options: Any) -> None:
            matches = fnmatch.fnmatch(Path(target).name, pattern)
            if matches and when == "before":
                killer.pass_by()
            replace(source, target, **options)
            if matches and when == "after":
                killer.pass_by()

        setattr(os, "replace", watched)  # noqa: B010  # by name, as its many signatures are not repeated here


def after(killer: Killer, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which first passes by the killer."""

    def watched(*arguments: Any, **options: Any) -> Any:
        killer.pass_by()
        return function(*arguments, **options)

    return watched


def write_half(killer: Killer, save: Callable[..., None]) -> Callable[..., None]:
    """``torch.save``, which passes by the killer when half of the file is on the disk."""

    def watched(content: Any, file: BinaryIO, **options: Any) -> None:
        whole = io.BytesIO()
        save(content, whole, **options)
        half = len(whole.getvalue()) // 2
        file.write(whole.getvalue()[:half])
        file.flush()
        killer.pass_by()
        file.write(whole.getvalue()[half:])

    return watched


def network(model: ModelSettings, num_classes: int) -> nn.Sequential:
    """The small network with a second norm: PyTorch's DDP fails where a network's only buffer lies channels-last in memory."""
    layers = list(small_network(num_classes).named_children())
    flatten = [name for name, _ in layers].index("flatten")
    layers.insert(flatten, ("norm2", LocalResponseNorm(12)))
    return nn.Sequential(OrderedDict(layers))


if __name__ == "__main__":
    torch.set_num_threads(1)  # the sums of one process and of two are each the same every time
    vars(experiment.run)["build_network"] = network
    watch(sys.argv[1], Killer(int(sys.argv[2])))
    sys.exit(train.main(sys.argv[3:]))
