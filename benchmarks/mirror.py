"""What W&B costs a training while its server or its service works, fails or hangs.

Each case has two rows. The first compares a training with W&B and without in short blocks by turns, so that what else slows the
machine hits both; W&B's service is suspended meanwhile in the blocks without, and has to do its work in those with. The first
case has no W&B in either, as a control. The second row is what W&B can have taken at most: the seconds that the training waited
for it, and the processor's in which its threads and its service worked, as if nothing else ran meanwhile.

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
from scipy.stats import t as student_t

from benchmarks.steps import BATCH, CLASSES, batch, our_step
from benchmarks.timing import Row
from configs import LoggerSettings, ModelSettings
from experiment.dashboard import Dashboard
from experiment.hardware import best_precision, configure_malloc
from experiment.loggers import build_logger, finish_logger
from experiment.wandb_mirror import WandbMirror
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from tests.wandb_server import FAULTS, KEY, WandbServer

CONTROL = "none at all"
CASES = (CONTROL, "offline", "server works", *(f"server {fault}" for fault in FAULTS), "service stopped", "service killed")
STEPS = 27  # of an epoch: a quarter of Caltech-101's, so what an epoch costs once counts four times
EPOCHS = 2  # with W&B, and as many without
BLOCK = 3  # steps
PICTURES = 48
ROW = {"epoch": 1.0} | {f"number/{number}": 0.5 for number in range(200)}  # as many figures as a run has


@dataclass(frozen=True)
class Turn:
    """What a process has measured.

    Attributes:
        with_wandb: seconds of each block with W&B.
        without: seconds of the block without it that is next to that.
        taken: seconds that W&B took by itself in all blocks together.
    """

    with_wandb: list[float]
    without: list[float]
    taken: float


def mirror(repeats: int) -> list[Row]:
    """Measure training with W&B, with the row and the pictures of a real epoch, against training without."""
    measured: dict[str, list[Turn]] = {case: [] for case in CASES}
    for _ in range(repeats):
        for case in CASES:
            measured[case].append(in_a_process(case, STEPS, BATCH))
    return [row for case, turns in measured.items() for row in rows(case, turns)]


def rows(case: str, turns: Sequence[Turn]) -> list[Row]:
    """Compare the seconds of an epoch with W&B and without, block by block, and what W&B took with the whole."""
    what = f"W&B, {case}: an epoch of {STEPS} steps, AlexNet, 227 px, batch {BATCH}, {best_precision()}"
    with_wandb = [seconds for turn in turns for seconds in turn.with_wandb]
    without = [seconds for turn in turns for seconds in turn.without]
    more = [100 * (ours / theirs - 1) for ours, theirs in zip(with_wandb, without, strict=True)]
    error = statistics.stdev(more) / len(more) ** 0.5
    mean, reach = statistics.mean(more), float(student_t.ppf(0.975, len(more) - 1)) * error
    epochs = len(turns) * EPOCHS
    taken, ours = sum(turn.taken for turn in turns) / epochs, sum(with_wandb) / epochs
    share = [100 * turn.taken / sum(turn.with_wandb) for turn in turns]
    interval = (mean - reach, mean + reach)
    return [
        Row(what, ours, sum(without) / epochs, "s", mean, interval, "% slower than without W&B (95 % interval, over blocks)"),
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
    """Return what ``compare_blocks`` does in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.mirror", case, str(steps), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Turn(**json.loads(done.stdout.splitlines()[-1]))


def compare_blocks(case: str, steps: int, images: int) -> Turn:
    """Return the seconds of blocks of steps with W&B and without it, by turns; the first block of an epoch logs one.

    The server, a stand-in on this machine, fails after a first epoch, which isn't counted; the service is stopped or killed
    then. What W&B takes after the last epoch isn't counted.
    """
    configure_malloc()
    noise, targets = batch(IMAGE_SIZES["alexnet"])
    network = build_network(ModelSettings(dropout=0.0), CLASSES).to(memory_format=torch.channels_last)
    step = our_step(network, noise[:images], targets[:images], best_precision())
    step()
    if case == CONTROL:
        return Turn(*_blocks_by_turns(case, step, steps, lambda: None), taken=0.0)
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
        _seconds(step, BLOCK)
        _break(case, server)
        waited, worked = 0.0, _worked()
        with_wandb, without = _blocks_by_turns(case, step, steps, log)
        taken = waited + sum(seconds - worked.get(number, 0.0) for number, seconds in _worked().items())
        for service in _services():  # the end isn't measured, and needs no patience
            service.kill()
        finish_logger(logger, {})
        server.close()
    return Turn(with_wandb, without, taken)


def _blocks_by_turns(
    case: str, step: Callable[[], torch.Tensor], steps: int, log: Callable[[], None]
) -> tuple[list[float], list[float]]:
    """Return the seconds of each block with W&B, which is let work in these alone, and of its neighbour without."""
    with_wandb, without = [], []
    for _ in range(EPOCHS):
        for number in range(max(1, steps // BLOCK)):
            for is_with in (True, False) if number % 2 == 0 else (False, True):
                if case != "service stopped":
                    for service in _services():
                        service.resume() if is_with else service.suspend()
                if not is_with:
                    without.append(_seconds(step, BLOCK))
                elif number == 0:  # what an epoch gives comes first, so that these steps have the work that it makes
                    with_wandb.append(_seconds(step, BLOCK, log))
                else:
                    with_wandb.append(_seconds(step, BLOCK))
    return with_wandb, without


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
    log()
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
    print(json.dumps(asdict(compare_blocks(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
