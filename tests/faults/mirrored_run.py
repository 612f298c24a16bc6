"""A run without a network, for ``test_wandb.py``: its logger gets rows and pictures as from a training.

It reads one word a line: ``epoch`` logs one, ``resume`` begins as a run does that resumes after three epochs, ``end``
finishes in order, ``leave`` ends the program in the middle. It prints what it does, and how many seconds that took it.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from lightning import LightningModule, Trainer
from PIL import Image

from configs import LoggerSettings
from experiment import loggers, wandb_mirror
from experiment.csv_recorder import CSVRecorder
from experiment.loggers import build_logger, check_logger, finish_logger
from experiment.wandb_mirror import WandbMirror

CONFIG = {"model.name": "small", "data.name": "shapes", "optim.lr": 0.01}
PICTURES = 4  # an epoch
NUMBERS = {f"number/{i}": 0.5 for i in range(100)}  # so that a row is as long as a training's


def say(what: str, began: float) -> None:
    print(f"{what}: {time.monotonic() - began:.3f} s", flush=True)


def main(folder: Path, limits: dict[str, float]) -> None:
    """Run; ``limits`` are shorter ones for the constants of these names."""
    for name, seconds in limits.items():
        for module in (loggers, wandb_mirror):
            if hasattr(module, name):
                setattr(module, name, seconds)
    settings = LoggerSettings()
    check_logger(settings)
    began = time.monotonic()
    logger = build_logger(settings, folder, CONFIG)
    assert isinstance(logger, WandbMirror)
    say("start", began)
    while not (logger.mirrored or logger.failure):  # where the machine is busy, the training would begin before W&B
        time.sleep(0.1)
    epoch = 0
    for line in sys.stdin:
        if line.strip() == "leave":
            return
        if line.strip() == "end":
            break
        if line.strip() == "resume":
            recorder = CSVRecorder(folder, "a run")
            recorder.load_state_dict({"rows": [{"epoch": number, "seconds": 1.0} for number in (1, 2, 3)]})
            recorder.on_train_start(cast(Trainer, SimpleNamespace(loggers=[logger])), LightningModule())
            print("resumed", flush=True)
            epoch = 3
            continue
        epoch += 1
        files = {}
        for place in range(PICTURES):
            file = folder / "pictures" / str(place) / f"epoch-{epoch:03d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.linear_gradient("L").save(file)
            files[f"overview/each/{place}"] = (file, f"epoch {epoch}")
        began = time.monotonic()
        logger.log_pictures(files, {"range/overview/each/0/conv1": 1.0})
        logger.log_metrics({"epoch": epoch, "val/accuracy": 0.5, **NUMBERS})
        say(f"epoch {epoch}", began)
    print("last words", flush=True)
    began = time.monotonic()
    finish_logger(logger, {"diverged": False})
    say("finish", began)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
