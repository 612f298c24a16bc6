"""A trained network back from a checkpoint, read without running code from the file."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs import ModelSettings, SettingsError
from lightning_modules.networks.registry import build_network


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint in a file. Raises SettingsError when the file is missing, damaged or holds more than plain values."""
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as problem:
        raise SettingsError(f"{path}: there is no such checkpoint") from problem
    except Exception as problem:  # a damaged file can fail in any of the unpickler's ways
        raise SettingsError(f"{path} is not a readable checkpoint ({type(problem).__name__}); use another one") from problem
    return checkpoint


def load_network(path: str | Path) -> tuple[nn.Sequential, list[str]]:
    """A trained network in evaluation mode and the names of its classes, from a run's checkpoint.

    Raises:
        SettingsError: the file is missing, damaged or not a checkpoint of this project.
    """
    checkpoint = read_checkpoint(Path(path))
    try:
        class_names = [str(name) for name in checkpoint["class_names"]]
        network = build_network(ModelSettings(**checkpoint["settings"]["model"]), len(class_names))
        weights = {name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}
        network.load_state_dict({name: value for name, value in weights.items() if not name.startswith("metrics.")})
    except (KeyError, TypeError, RuntimeError) as problem:
        raise SettingsError(f"{path} holds no network of this project: {str(problem).splitlines()[0]}") from problem
    return network.eval(), class_names
