"""A process of its own for ``processes``: training steps of a network in one way, their seconds and the peak memory."""

import json
import resource
import sys
import time
from pathlib import Path

import torch

from benchmarks.steps import CLASSES, batch, our_step, plain, plain_step
from configs import ModelSettings
from experiment.hardware import configure_malloc
from lightning_modules.networks.registry import IMAGE_SIZES, build_network


def peak_memory() -> float:
    """Return the largest resident memory of this process in GB. Linux's getrusage would count what it was forked from, too."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    name, way, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    network = build_network(ModelSettings(name=name, dropout=0.0), CLASSES)
    images, targets = batch(IMAGE_SIZES[name])
    if way == "plain":
        network = plain(network)
        step = plain_step(network, images, targets)
    else:
        if way == "ours":
            configure_malloc()
        step = our_step(network.to(memory_format=torch.channels_last), images, targets)
    step()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "gigabytes": peak_memory()}))
