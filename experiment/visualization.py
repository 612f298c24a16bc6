"""The callbacks of ``viz_callbacks`` that a run gets, and the images of its data set that they look at."""

from pathlib import Path

import torch
from lightning import Callback
from torch import nn

from configs import SettingsError, VizSettings
from configs.parser import load_settings
from datamodules.datamodule import ImageDataModule
from datamodules.probe_images import probe_images
from datamodules.registry import build_datamodule
from lightning_modules.checkpoints import load_network
from lightning_modules.networks.registry import IMAGE_SIZES
from viz_callbacks.callbacks import (
    DeadMapsLogger,
    DeconvolutionPictures,
    DeNetPictures,
    FilterMetricsLogger,
    FilterPictures,
    InvariancePictures,
    OcclusionPictures,
    OverviewPictures,
    Probes,
    ProjectionMetricsLogger,
    ReferenceImages,
    TopActivationPictures,
)


def visualization_callbacks(
    settings: VizSettings, data: ImageDataModule, probes: Probes, folder: Path, max_epochs: int
) -> list[Callback]:
    """Return the callbacks that look at the network while it learns; their pictures go below ``folder``."""
    every, fixed = settings.every_n_epochs, settings.scale == "fixed"
    last = max_epochs if settings.sensitivity else 0
    return [
        OverviewPictures(folder / "overview", probes, own_sheets=True, every_n_epochs=every, fixed_scale=fixed),
        DeconvolutionPictures(folder / "deconvolution", probes, maps=settings.maps, every_n_epochs=every, fixed_scale=fixed),
        DeNetPictures(folder / "denet", probes, every_n_epochs=every, fixed_scale=fixed),
        FilterPictures(folder / "filters", probes, every_n_epochs=every, fixed_scale=fixed),
        TopActivationPictures(
            folder / "top_activations",
            reference_images(data),
            maps=settings.top_maps,
            maps_at_end=3 * settings.top_maps,  # twelve, as many as the page shows
            every_n_epochs=every,
            fixed_scale=fixed,
        ),
        OcclusionPictures(folder / "occlusion", probes, every_n_epochs=last),
        InvariancePictures(folder / "invariance", probes, every_n_epochs=last),
        DeadMapsLogger("test", every_n_epochs=every if settings.metrics else 0),
        FilterMetricsLogger(every_n_epochs=every if settings.metrics else 0),
        ProjectionMetricsLogger(probes, every_n_epochs=every if settings.metrics else 0),
    ]


def build_probes(data: ImageDataModule, names: list[str]) -> Probes:
    """Build the probes of these names, as ``probe_images`` finds them, or the data set's own for no names.

    Raises:
        SettingsError: for an unknown name, or two images whose pictures would have one name.
    """
    found = probe_images(data, names)
    images = torch.stack([each.pixels for each in found])
    try:
        return Probes(
            names=[each.name for each in found],
            images=data.normalise(images),
            pictures=images,
            targets=torch.tensor([each.target for each in found]),
            class_names=data.class_names,
            notes=[each.note for each in found],
            masks=torch.stack([each.mask for each in found]),
        )
    except ValueError as problem:
        raise SettingsError(f"viz.probes: {problem}") from problem


def reference_images(data: ImageDataModule) -> ReferenceImages:
    """Return the images among which the strongest activations are sought: those of the validation, or else of the test."""
    part = "val" if len(data.split.val) else "test"
    indices = getattr(data.split, part)
    return ReferenceImages(
        loader=part,
        names=[data.files[index] for index in indices],
        load=lambda numbers: data.normalise(data.images(indices[numbers])),
        denormalise=data.denormalise,
    )


def load_run(run: Path) -> tuple[nn.Sequential, ImageDataModule]:
    """Return the last weights of the run in this folder that were kept, and its data, ready to look at.

    Raises:
        SettingsError: where either is missing.
    """
    settings = load_settings(run / "config.yaml")
    network, _ = load_network(run)
    data = build_datamodule(settings.data, settings.data.image_size or IMAGE_SIZES[settings.model.name], settings.seed)
    data.prepare_data()
    data.setup("fit")
    return network.to(memory_format=torch.channels_last), data
