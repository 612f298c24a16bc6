"""What W&B costs a training while its server or its service works, fails or hangs.

Each case has two rows. The first compares epochs side by side, so it also holds what else differs between two minutes of the
machine. The second is what W&B can have taken at most: the seconds that the training waited for it, and the processor's in
which its threads and its service worked, as if nothing else ran meanwhile.

Each case has a process of its own, ``python -m benchmarks.mirror CASE STEPS IMAGES``: W&B remembers for a process whether its
key is good, and at which address.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Turn:
    """Seconds of an epoch with W&B, of one without, and those of the first that W&B took by itself."""

    with_wandb: float
    without: float
    taken: float


def mirror(repeats: int) -> list[Row]:
    """Measure epochs of training with W&B, each with the row and the pictures of a real one, against epochs without."""
    measured: dict[str, list[Turn]] = {case: [] for case in CASES}
    for _ in range(repeats):
        for case in CASES:
            measured[case].append(in_a_process(case, STEPS, BATCH))
    return [row for case, turns in measured.items() for row in rows(case, turns)]


def rows(case: str, turns: Sequence[Turn]) -> list[Row]:
    """Compare the seconds of an epoch with W&B and without, turn by turn, and what W&B took with the whole."""
    what = f"W&B, {case}: an epoch of {STEPS} steps, AlexNet, 227 px, batch {BATCH}, {best_precision()}"
    ours = statistics.median(turn.with_wandb for turn in turns)
    theirs = statistics.median(turn.without for turn in turns)
    taken = statistics.median(turn.taken for turn in turns)
    more = [100 * (turn.with_wandb / turn.without - 1) for turn in turns]
    share = [100 * turn.taken / turn.with_wandb for turn in turns]
    return [
        Row(what, ours, theirs, "s", statistics.median(more), (min(more), max(more)), "% slower than without W&B"),
        Row(
            f"W&B, {case}: waiting, its threads and its service",
            taken,
            ours,
            "s",
            statistics.median(share),
            (min(share), max(share)),
            "% of the epoch, at most",
        ),
    ]


def in_a_process(case: str, steps: int, images: int) -> Turn:
    """Return what ``epochs_with_and_without`` does in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.mirror", case, str(steps), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Turn(**json.loads(done.stdout.splitlines()[-1]))


def epochs_with_and_without(case: str, steps: int, images: int) -> Turn:
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

        waited = 0.0

        def log() -> None:
            nonlocal waited
            began = time.perf_counter()
            logger.log_pictures(files, {})
            logger.log_metrics(ROW)
            waited += time.perf_counter() - began

        log()
        _seconds(step, 1)
        _break(case, server)
        waited, worked = 0.0, _worked()
        ours = [_seconds(step, steps, log) for _ in range(EPOCHS)]
        taken = waited + sum(seconds - worked.get(number, 0.0) for number, seconds in _worked().items())
        for service in _services():  # the end isn't measured, and needs no patience
            service.kill()
        finish_logger(logger, {})
        server.close()
    without += [_seconds(step, steps) for _ in range(EPOCHS // 2)]
    return Turn(statistics.mean(ours), statistics.mean(without), taken / EPOCHS)


def _worked() -> dict[int, float]:
    """Return the processor's seconds so far of what works beside the training, by the number of the thread or process.

    These are this program's threads but the main one and torch's own, the stand-in's among them; W&B's service and what it has
    started.
    """
    beside = {thread.native_id for thread in threading.enumerate() if thread is not threading.main_thread()}
    seconds = {each.id: each.user_time + each.system_time for each in psutil.Process().threads() if each.id in beside}
    for service in _services():
        with suppress(psutil.NoSuchProcess):
            for process in [service, *service.children(recursive=True)]:
                times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
    return seconds


def _seconds(step: Callable[[], torch.Tensor], steps: int, log: Callable[[], None] = lambda: None) -> float:
    began = time.perf_counter()
    log()  # what the epoch before gives, so that these steps have the work that it makes
    for _ in range(steps):
        step().item()
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
    print(json.dumps(asdict(epochs_with_and_without(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
