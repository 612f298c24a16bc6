"""The lens over a run's network, or over one of torchvision's."""

import difflib
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision

from configs import SettingsError
from configs.parser import load_settings
from datamodules.datamodule import MEAN, STD
from lightning_modules.checkpoints import load_network
from lightning_modules.networks.registry import IMAGE_SIZES
from viz_callbacks import Lens


def lens_of_run(run: Path) -> Lens:
    """Return the lens over the last weights that a run kept; photographs become squares as its training's did.

    Raises:
        SettingsError: settings or weights are missing or damaged.
    """
    settings = load_settings(run / "config.yaml")
    network, class_names = load_network(run)
    size = settings.data.image_size or IMAGE_SIZES[settings.model.name]
    return Lens(network, class_names=class_names, size=size, mean=MEAN, std=STD, stretch=True)


def newest_run(runs: Path) -> Path:
    """Return the folder of the run whose weights are the newest. Raises SettingsError where there is none."""
    checkpoints = sorted(runs.rglob("checkpoints/*.ckpt"), key=lambda file: file.stat().st_mtime)
    if not checkpoints:
        raise SettingsError(f"there is no run in {runs}: train one, name one with --run, or take --network resnet18")
    return checkpoints[-1].parent.parent


def lens_of_torchvision(name: str, trained: bool) -> Lens:
    """Return the lens over one of torchvision's networks for images, with the images and classes of its best weights.

    Raises:
        SettingsError: there is no such network, or its weights can't be downloaded.
    """
    name = name.removeprefix("torchvision:")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        close = difflib.get_close_matches(name, known, 3)
        raise SettingsError(f"--network {name}: torchvision has no such network; choose {' or '.join(close or known[:3])}")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    torch.manual_seed(0)
    try:
        network = torchvision.models.get_model(name, weights=weights if trained else None)
    except URLError as problem:
        raise SettingsError(
            f"the weights of {name} can't be downloaded ({problem.reason}); --untrained takes random ones"
        ) from problem
    images = weights.transforms()
    return Lens(network, class_names=weights.meta["categories"], size=images.crop_size[0], mean=images.mean, std=images.std)
