"""A process of its own for ``peak_memory``: three training steps in the way named, then the peak in GB."""

import resource
import sys

import torch

from benchmarks.steps import CLASSES, batch, our_step, plain, plain_step
from configs import ModelSettings
from lightning_modules import build_network
from lightning_modules.machine import keep_freed_memory

if __name__ == "__main__":
    network = build_network(ModelSettings(), CLASSES)
    images, targets = batch(227)
    if sys.argv[1] == "ours":
        keep_freed_memory()
        step = our_step(network.to(memory_format=torch.channels_last), images, targets)
    else:
        network = plain(network)
        step = plain_step(network, images, targets)
    for _ in range(3):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
