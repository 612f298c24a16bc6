"""``train.py`` with a tiny network whose layers have AlexNet's names, for ``test_shown_run.py``: arguments as for train.py."""

import sys
from collections import OrderedDict

import torch
from torch import nn

import experiment.run
import train
from configs import ModelSettings

MAPS = (3, 8, 12, 12, 12, 10)


def network(model: ModelSettings, num_classes: int) -> nn.Sequential:
    """Five convolutions and three dense layers."""
    layers = OrderedDict[str, nn.Module]()
    for number in range(1, 6):
        layers[f"conv{number}"] = nn.Conv2d(
            MAPS[number - 1], MAPS[number], 11 if number == 1 else 3, stride=4 if number == 1 else 1, padding=1
        )
        layers[f"act{number}"] = nn.ReLU()
        if number in (1, 2):
            layers[f"pool{number}"] = nn.MaxPool2d(3, 2)
    layers |= {"pool5": nn.AdaptiveMaxPool2d(4), "flatten": nn.Flatten(), "fc6": nn.Linear(MAPS[5] * 16, 16), "act6": nn.ReLU()}
    layers |= {"fc7": nn.Linear(16, 16), "act7": nn.ReLU(), "fc8": nn.Linear(16, num_classes)}
    return nn.Sequential(layers)


if __name__ == "__main__":
    torch.set_num_threads(1)
    vars(experiment.run)["build_network"] = network
    sys.exit(train.main(sys.argv[1:]))
