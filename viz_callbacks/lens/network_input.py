"""What a network takes and what its classes are called, found out from the network itself."""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from viz_callbacks.engine.copies import eval_copy
from viz_callbacks.lens.photographs import InputFormat

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = (224, 227, 299, 256, 192, 160, 128, 96, 64, 48, 32, 28)
"""Sides of square images in pixels, in the order in which they are tried."""


def find_input(
    network: nn.Module, size: int | None, mean: Sequence[float] | None, std: Sequence[float] | None, stretch: bool
) -> InputFormat:
    """Return how a network takes its images; what isn't given is found out.

    The channels are those of the first convolution. The size is the first of ``SIZES`` that the network runs on; networks of
    timm say theirs, and their mean and std. Otherwise these are ImageNet's, which networks of torchvision were trained with.

    Raises:
        ValueError: there is no convolution or no forward; weights are missing; the network runs on no size that was tried; only
            one of mean and std is given, or they have neither one value nor one for each channel.
    """
    first = next((each for each in network.modules() if isinstance(each, nn.Conv2d)), None)
    if first is None:
        made = isinstance(network, torch.jit.ScriptModule | torch.fx.GraphModule)
        remedy = "; of what torch.jit or torch.export made, give the module that it was made of" if made else ""
        raise ValueError(f"A {type(network).__name__} has no convolution layer, so there is nothing to look at{remedy}.")
    if absent := [name for name, each in network.named_parameters() if each.is_meta or is_lazy(each)]:
        raise ValueError(
            f"{absent[0]} has no values yet, so there is nothing to look at: load or initialise the weights first."
        )
    if type(network).forward is nn.Module.forward:
        raise ValueError(f"A {type(network).__name__} has no forward: give the part of it that is the network.")
    if (mean is None) != (std is None):
        raise ValueError("Give both mean and std, or neither.")
    said: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}  # timm's
    size = size or (said["input_size"][-1] if "input_size" in said else _find_size(network, first.in_channels))
    if mean is not None and std is not None:
        if not {len(mean), len(std)} <= {1, first.in_channels}:
            raise ValueError(
                f"mean and std have {len(mean)} and {len(std)} values; give one, or one for each of the {first.in_channels} "
                "channels."
            )
        return InputFormat(first.in_channels, size, tuple(mean), tuple(std), stretch)
    if {len(said.get("mean", ())), len(said.get("std", ()))} == {first.in_channels}:  # it may have been given others
        return InputFormat(first.in_channels, size, tuple(said["mean"]), tuple(said["std"]), stretch, "the network's own")
    if first.in_channels != 3:
        return InputFormat(first.in_channels, size, (0.0,), (1.0,), stretch, "none, as none is given")
    known = _is_from(network, "torchvision")
    origin = "ImageNet's" if known else "ImageNet's, as none is given: mean= and std= change it"
    return InputFormat(3, size, IMAGENET_MEAN, IMAGENET_STD, stretch, origin)


def find_class_names(network: nn.Module, classes: int) -> list[str]:
    """Return the names of a network's classes: ImageNet's for torchvision's and timm's of 1000 classes, else their numbers."""
    if classes == 1000 and _is_from(network, "torchvision", "timm"):  # timm needs torchvision
        weights = importlib.import_module("torchvision.models").AlexNet_Weights.DEFAULT  # all of them have the same classes
        names: list[str] = weights.meta["categories"]
        return names
    return [str(number) for number in range(classes)]


def _is_from(network: nn.Module, *libraries: str) -> bool:
    return type(network).__module__.startswith(tuple(f"{library}.models." for library in libraries))


def _find_size(network: nn.Module, channels: int) -> int:
    """Return the first size that a network runs on, as if evaluating, with its modes, statistics and weights left alone."""
    weights, problem = next(network.parameters()), ""
    twin = eval_copy(network)
    for size in SIZES:
        try:
            with torch.inference_mode():
                twin(weights.new_zeros(1, channels, size, size))
        except RuntimeError as mismatch:
            problem = problem or str(mismatch).splitlines()[0]
        else:
            return size
    raise ValueError(f"The network runs on no square of {', '.join(map(str, SIZES))} pixels ({problem}); give its size=.")
