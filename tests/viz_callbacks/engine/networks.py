"""Small networks and layers that several tests of the engine share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from viz_callbacks.engine.forward import named_layers


def every_kind_of_state() -> nn.Sequential:
    """In-place and shared rectifiers, dropout, batch norm, overlapping pools, nested parts; for images of 23 pixels."""
    torch.manual_seed(0)
    shared, norm = nn.ReLU(inplace=True), nn.BatchNorm2d(6)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    features = nn.Sequential(
        nn.Conv2d(3, 6, 5, 2), norm, shared, nn.MaxPool2d(3, 2), nn.LocalResponseNorm(3),
        nn.Conv2d(6, 8, 3, padding=1, groups=2), shared, nn.Dropout2d(0.5), nn.MaxPool2d(3, 2, ceil_mode=True),
    )  # fmt: skip
    classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 10), shared, nn.Linear(10, 4))
    return nn.Sequential(features, classifier)


def every_layer(network: nn.Module) -> list[str]:
    """The names of all layers, for a record that keeps the output of each."""
    return [name for name, _ in named_layers(network)]


class Squaring(nn.Module):
    """Without a backward rule and without parts, and not to be followed."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x if x.numel() > 0 else x


class Residual(nn.Module):
    """A shortcut, with a dropout inside that must not drop."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> object:
        return x + self.dropout(x)


class OwnOrder(nn.Sequential):
    """An nn.Sequential that doesn't run its layers one after another."""

    def forward(self, input: Tensor) -> object:
        for layer in reversed(self):
            input = input + layer(input)
        return input


class Does(nn.Module):
    """Named parts, and a forward given as a function of these and the value."""

    conv: nn.Conv2d
    relu: nn.ReLU
    relu_1: nn.Module
    pool: nn.Module
    up: nn.Module
    dense: nn.Linear
    flatten: nn.Module
    features: nn.Module
    block: nn.Module
    groups: nn.ModuleList
    missing: nn.Module
    twice: bool
    scale: Tensor
    shift: Tensor

    def __init__(self, run: Callable[["Does", Tensor], object], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> object:
        return self.run(self, x)


class Stem(nn.Module):
    """A small network in the usual style: layers as attributes, one rectifier for all, flattened by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 5, 2), nn.Conv2d(4, 6, 3)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.dropout, self.fc1, self.fc2 = nn.Dropout(), nn.Linear(96, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> object:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.dropout(x.view(x.size(0), -1))
        return self.fc2(self.relu(self.fc1(x)))
