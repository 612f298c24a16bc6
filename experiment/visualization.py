"""What a run looks at: the images of its data set, handed to the callbacks of ``viz_callbacks``."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from torch import nn

from configs import VizSettings
from configs.parser import load_settings
from datamodules.datamodule import ImageDataModule
from datamodules.registry import build_datamodule
from lightning_modules.checkpoints import load_network
from lightning_modules.networks.registry import IMAGE_SIZES
from viz_callbacks.callbacks import (
    DeconvolutionPictures,
    DeNetPictures,
    FilterPictures,
    InvariancePictures,
    OcclusionPictures,
    Probes,
    ProjectionMetricsLogger,
    ReferenceImages,
    TopActivationPictures,
)


def visualization_callbacks(
    settings: VizSettings, data: ImageDataModule, probes: Probes, folder: Path, max_epochs: int
) -> list[Callback]:
    """The callbacks that look at the network while it learns; their pictures go below ``folder``."""
    when: dict[str, Any] = {"every_n_epochs": settings.every_n_epochs, "fixed_scale": settings.scale == "fixed"}
    last = max_epochs if settings.sensitivity else 0
    return [
        DeconvolutionPictures(folder / "deconvolution", probes, settings.maps, **when),
        DeNetPictures(folder / "denet", probes, **when),
        FilterPictures(folder / "filters", probes, **when),
        TopActivationPictures(folder / "strongest", reference_images(data), settings.top_maps, **when),
        OcclusionPictures(folder / "occlusion", probes, every_n_epochs=last),
        InvariancePictures(folder / "invariance", probes, every_n_epochs=last),
        ProjectionMetricsLogger(probes, every_n_epochs=settings.every_n_epochs if settings.metrics else 0),
    ]


def build_probes(data: ImageDataModule, names: list[str]) -> Probes:
    """Build the probes of these names (files, or classes for their first image), or the data set's own for no names.

    Raises:
        SettingsError: for an unknown name.
    """
    indices = data.find(names)
    images = data.images(indices)
    return Probes(
        names=[data.files[index] for index in indices],
        images=data.normalise(images),
        pictures=images,
        targets=torch.from_numpy(data.targets[indices]),
        class_names=data.class_names,
        notes=[data.split.part(index) for index in indices],
        masks=data.masks(indices),
    )


def reference_images(data: ImageDataModule) -> ReferenceImages:
    """The images among which the strongest activations are sought: those of the validation, or else of the test."""
    part = "val" if len(data.split.val) else "test"
    watched = getattr(data.split, part)
    return ReferenceImages(
        part, [data.files[i] for i in watched], lambda numbers: data.normalise(data.images(watched[numbers])), data.denormalise
    )


def load_run(run: Path) -> tuple[nn.Sequential, ImageDataModule]:
    """The last weights of a run in its folder, and its data, ready to look at. Raises SettingsError where either is missing."""
    settings = load_settings(run / "config.yaml")
    network, _ = load_network(run / "checkpoints/last.ckpt")
    data = build_datamodule(settings.data, settings.data.image_size or IMAGE_SIZES[settings.model.name], settings.seed)
    data.prepare_data()
    data.setup("fit")
    return network.to(memory_format=torch.channels_last), data
