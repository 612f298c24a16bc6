"""What W&B costs a training while its server or its service works, fails or hangs: epochs with it against epochs without."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from PIL import Image

from benchmarks.steps import CLASSES, batch, our_step
from benchmarks.timing import Row
from configs import LoggerSettings, ModelSettings
from experiment.hardware import configure_malloc
from experiment.loggers import build_logger, finish_logger
from experiment.wandb_mirror import WandbMirror
from lightning_modules.networks.registry import build_network
from tests.wandb_server import FAULTS, KEY, WandbServer

EPOCHS, STEPS, PICTURES = 3, 8, 48
ROW = {f"number/{i}": 0.5 for i in range(200)}  # as many as a run has


def mirror(repeats: int) -> list[Row]:
    """Measure epochs of eight steps, so much shorter than real ones, each with the row and the pictures of a real one.

    The server, a stand-in on this machine, fails after the first epoch, and the service is stopped or killed then. What W&B
    takes after the last epoch isn't counted.
    """
    configure_malloc()
    images, targets = batch(227)
    network = build_network(ModelSettings(dropout=0.0), CLASSES).to(memory_format=torch.channels_last)
    step = our_step(network, images.contiguous(memory_format=torch.channels_last), targets)
    cases = ("none", "offline", "works", *(f"server: {fault}" for fault in FAULTS), "service stopped", "service killed")
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    for turn in range(repeats + 1):
        for case in cases:
            measured = _epochs(step, case)
            if turn > 0:
                seconds[case].append(measured)
    without = seconds.pop("none")
    more = {case: [100 * (a / b - 1) for a, b in zip(own, without, strict=True)] for case, own in seconds.items()}
    return [
        Row(
            f"W&B, {case}; AlexNet, 227 px, batch 64", statistics.median(own), statistics.median(without), "s/epoch",
            statistics.median(more[case]), (min(more[case]), max(more[case])),
            "% slower than without W&B",
        )
        for case, own in seconds.items()
    ]  # fmt: skip


def _epochs(step: Callable[[], torch.Tensor], case: str) -> float:
    """Return the mean seconds of an epoch, its logging included, after a first that isn't counted."""
    server, before = WandbServer(), dict(os.environ)
    with tempfile.TemporaryDirectory() as place:
        os.environ.update(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, WANDB_CONFIG_DIR=place, WANDB_CACHE_DIR=place)
        os.environ["WANDB_MODE"] = "offline" if case == "offline" else "online"
        sheet = Path(place) / "sheet.jpg"
        Image.effect_noise((600, 300), 50).save(sheet)
        files = {f"sheet/{number}": (sheet, "a caption") for number in range(PICTURES)}
        settings = LoggerSettings(name="none" if case == "none" else "wandb")
        logger = build_logger(settings, Path(place), {"model.name": "alexnet", "data.name": "one batch"})
        try:
            for epoch in range(EPOCHS + 1):
                if epoch == 1:
                    _break(case, server)
                    began = time.perf_counter()
                for _ in range(STEPS):
                    step().item()
                if isinstance(logger, WandbMirror):
                    logger.log_pictures(files, {})
                    logger.log_metrics({"epoch": epoch + 1, **ROW})
            return (time.perf_counter() - began) / EPOCHS
        finally:
            for service in _services():  # the end isn't measured, and needs no patience
                service.kill()
            finish_logger(logger, {})
            server.close()
            os.environ.clear()
            os.environ.update(before)


def _break(case: str, server: WandbServer) -> None:
    if case.startswith("server: "):
        server.fault = case.removeprefix("server: ")
    if case.startswith("service "):
        (service,) = _services()
        service.suspend() if case == "service stopped" else service.kill()


def _services() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name() == "wandb-core"]
