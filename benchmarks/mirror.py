"""What W&B costs a training while its server or its service works, fails or hangs.

Each case has a process of its own, ``python -m benchmarks.mirror CASE STEPS IMAGES``: W&B remembers for a process whether its
key is good, and at which address.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from PIL import Image

from benchmarks.steps import BATCH, CLASSES, batch, our_step
from benchmarks.timing import Row
from configs import LoggerSettings, ModelSettings
from experiment.dashboard import Dashboard
from experiment.hardware import best_precision, configure_malloc
from experiment.loggers import build_logger, finish_logger
from experiment.wandb_mirror import WandbMirror
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from tests.wandb_server import FAULTS, KEY, WandbServer

CASES = ("offline", "server works", *(f"server {fault}" for fault in FAULTS), "service stopped", "service killed")
STEPS = 27  # of an epoch: a quarter of Caltech-101's, so what an epoch costs once counts four times
EPOCHS = 2  # with W&B, and as many without
PICTURES = 48
ROW = {"epoch": 1.0} | {f"number/{number}": 0.5 for number in range(200)}  # as many figures as a run has


def mirror(repeats: int) -> list[Row]:
    """Measure epochs of training with W&B, each with the row and the pictures of a real one, against epochs without."""
    measured: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    for _ in range(repeats):
        for case in CASES:
            measured[case].append(in_a_process(case, STEPS, BATCH))
    return [row(case, turns) for case, turns in measured.items()]


def row(case: str, turns: list[tuple[float, float]]) -> Row:
    """Compare the seconds of an epoch with W&B and without, turn by turn."""
    more = [100 * (ours / theirs - 1) for ours, theirs in turns]
    ours, theirs = (statistics.median(seconds) for seconds in zip(*turns, strict=True))
    title = f"W&B, {case}: an epoch of {STEPS} steps, AlexNet, 227 px, batch {BATCH}, {best_precision()}"
    spread = (min(more), max(more))
    return Row(title, ours, theirs, "s", statistics.median(more), spread, "% slower than without W&B")


def in_a_process(case: str, steps: int, images: int) -> tuple[float, float]:
    """Return what ``epochs_with_and_without`` does in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.mirror", case, str(steps), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ours, theirs = json.loads(done.stdout.splitlines()[-1])
    return float(ours), float(theirs)


def epochs_with_and_without(case: str, steps: int, images: int) -> tuple[float, float]:
    """Return the seconds of an epoch with W&B, and of one without: half of these before W&B begins, half after its end.

    The server, a stand-in on this machine, fails after a first epoch, which isn't counted; the service is stopped or killed
    then. What W&B takes after the last epoch isn't counted.
    """
    configure_malloc()
    noise, targets = batch(IMAGE_SIZES["alexnet"])
    network = build_network(ModelSettings(dropout=0.0), CLASSES).to(memory_format=torch.channels_last)
    step = our_step(network, noise[:images], targets[:images], best_precision())
    step()
    without = [_seconds(step, steps) for _ in range(EPOCHS // 2)]
    with tempfile.TemporaryDirectory() as place:
        server = WandbServer()
        os.environ.update(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, WANDB_CONFIG_DIR=place, WANDB_CACHE_DIR=place)
        os.environ["WANDB_MODE"] = "offline" if case == "offline" else "online"
        sheet = Path(place) / "sheet.jpg"
        Image.effect_noise((600, 300), 50).save(sheet)
        files = {f"sheet/{number}": (sheet, "a caption") for number in range(PICTURES)}
        config = {"model.name": "alexnet", "data.name": "noise"}
        logger = build_logger(LoggerSettings(name="wandb"), Path(place), config, Dashboard(everything=True))
        if not isinstance(logger, WandbMirror) or not logger.mirrored or (logger.mirrored.url is None) != (case == "offline"):
            raise RuntimeError(f"{case}: W&B has not started as this case needs it")

        def log() -> None:
            logger.log_pictures(files, {})
            logger.log_metrics(ROW)

        log()
        _seconds(step, 1)
        _break(case, server)
        ours = [_seconds(step, steps, log) for _ in range(EPOCHS)]
        for service in _services():  # the end isn't measured, and needs no patience
            service.kill()
        finish_logger(logger, {})
        server.close()
    without += [_seconds(step, steps) for _ in range(EPOCHS // 2)]
    return statistics.mean(ours), statistics.mean(without)


def _seconds(step: Callable[[], torch.Tensor], steps: int, log: Callable[[], None] = lambda: None) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        step().item()
    log()
    return time.perf_counter() - began


def _break(case: str, server: WandbServer) -> None:
    if (fault := case.removeprefix("server ")) in FAULTS:
        server.fault = fault
    if case.startswith("service "):
        (service,) = _services()
        service.suspend() if case == "service stopped" else service.kill()


def _services() -> list[psutil.Process]:
    children = psutil.Process().children()  # those that were killed and not waited for are among them, as zombies
    return [child for child in children if child.name() == "wandb-core" and child.status() != psutil.STATUS_ZOMBIE]


if __name__ == "__main__":
    print(json.dumps(epochs_with_and_without(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
