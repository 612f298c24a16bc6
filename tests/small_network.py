"""A network small enough to train in a test."""

from collections import OrderedDict

import torch
from torch import nn

from lightning_modules.networks.layers import LocalResponseNorm


def small_network(num_classes: int = 8) -> nn.Sequential:
    """Every kind of layer of the real networks, for images of 67 pixels; the same weights each time."""
    torch.manual_seed(0)
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 6, 7, stride=4),
        act1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(3, 2),
        norm1=LocalResponseNorm(6),
        conv2=nn.Conv2d(6, 12, 3, padding=1),
        act2=nn.ReLU(inplace=True),
        pool2=nn.AdaptiveMaxPool2d(4),
        flatten=nn.Flatten(),
        fc3=nn.Linear(12 * 16, 16),
        act3=nn.ReLU(inplace=True),
        drop3=nn.Dropout(0.5),
        fc4=nn.Linear(16, num_classes),
    )
    return nn.Sequential(layers)
