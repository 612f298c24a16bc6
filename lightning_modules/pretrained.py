"""Weights to start from: an earlier run's, or torchvision's of AlexNet; the last layer is new where the classes differ.

torchvision's images x come in with the mean m and deviation s of ImageNet taken away, as (x - m) / s, ours, y, with the mean m'
and deviation s' of the project's data. So that the first convolution w, b sees the same image, x = s' y + m' goes into it:

    w (x - m) / s + b = (w s' / s) y + b + w (m' - m) / s

This is exact but for the first layer's padding, two pixels wide, which is 0 for either: the mean colour, m there and m' here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from configs import ModelSettings, SettingsError
from lightning_modules.checkpoints import network_in, read_checkpoint, weights_file

TORCHVISION = ModelSettings(name="alexnet-torchvision", norm="none")
TORCHVISION_LAYERS = {
    "conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8", "conv5": "features.10",
    "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6",
}  # fmt: skip
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DECIDING = ("name", "activation", "pooling", "norm", "streams", "conv1_size", "conv1_stride")
"""The settings of a network that weights were learnt for; with others it would compute something else from them."""
LAST = "fc8"


def load_weights(
    network: nn.Sequential, model: ModelSettings, class_names: Sequence[str], mean: Sequence[float], std: Sequence[float]
) -> str:
    """Put the weights of ``model.weights`` into a network, in place, all but the last layer's where classes differ.

    Args:
        network: with random weights, built by ``model``.
        model: its settings.
        class_names: of its classes.
        mean: of the images' red, green and blue (0 to 1), which is taken from what the network sees.
        std: their deviation, by which that is divided.

    Returns:
        A sentence about what was taken and what is new.

    Raises:
        SettingsError: the file can't be read, is neither a checkpoint of this project nor torchvision's AlexNet, or is of
            another network than ``model``.
    """
    path = weights_file(Path(model.weights or ""))
    checkpoint = read_checkpoint(path)
    if "features.0.weight" in checkpoint:
        source, weights = TORCHVISION, from_torchvision(checkpoint, mean, std)
        known: Sequence[str] = ()
    else:
        source, weights, known = network_in(checkpoint, path)
    _refuse_another_network(path, source, model)
    new = LAST if list(known) != list(class_names) else ""
    taken = {name: value for name, value in weights.items() if name.partition(".")[0] != new}
    try:
        missing = network.load_state_dict(taken, strict=False).missing_keys
    except RuntimeError as problem:
        raise SettingsError(f"model.weights={path}: {' '.join(str(problem).split())}") from problem
    if lacking := [name for name in missing if name.partition(".")[0] != new]:
        raise SettingsError(f"model.weights={path}: has no {', '.join(lacking)}")
    origin = f"{len(known)} classes" if known else "torchvision"
    return f"Weights from {path} ({origin}); " + (f"{LAST} is new, as the classes differ" if new else "all layers")


def from_torchvision(weights: Mapping[str, Tensor], mean: Sequence[float], std: Sequence[float]) -> dict[str, Tensor]:
    """Return the weights of torchvision's AlexNet by this project's names, for images of this mean and deviation."""
    renamed = {
        f"{ours}.{kind}": weights[f"{theirs}.{kind}"]
        for ours, theirs in TORCHVISION_LAYERS.items()
        for kind in ("weight", "bias")
        if f"{theirs}.{kind}" in weights
    }
    own_mean, own_std, their_mean, their_std = (
        torch.tensor(values).view(3, 1, 1) for values in (mean, std, IMAGENET_MEAN, IMAGENET_STD)
    )
    filters = renamed["conv1.weight"]
    renamed["conv1.weight"] = filters * (own_std / their_std)
    renamed["conv1.bias"] = renamed["conv1.bias"] + (filters * ((own_mean - their_mean) / their_std)).sum((1, 2, 3))
    return renamed


def _refuse_another_network(path: Path, source: ModelSettings, model: ModelSettings) -> None:
    theirs, ours = asdict(source), asdict(model)
    if differing := [key for key in DECIDING if theirs[key] != ours[key]]:
        name = "torchvision's AlexNet, whose layers have other widths" if source is TORCHVISION else "another network"
        if "name" in differing:
            differing = ["name"] if source is TORCHVISION else differing
        wanted = " ".join(f"model{'' if key == 'name' else f'.{key}'}={theirs[key]}" for key in differing)
        raise SettingsError(f"model.weights={path}: holds {name}; add {wanted}")
