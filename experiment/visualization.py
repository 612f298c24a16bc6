"""The callbacks of ``viz_callbacks`` that a run gets, and the images of its data set that they look at."""

import json
from pathlib import Path

import torch
from lightning import Callback
from PIL import Image
from torch import nn

from configs import VizSettings
from configs.files import atomic_write_text
from configs.parser import load_settings
from datamodules.datamodule import ImageDataModule
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
        OverviewPictures(folder / "overview", probes, every_n_epochs=every, fixed_scale=fixed),
        DeconvolutionPictures(folder / "deconvolution", probes, maps=settings.maps, every_n_epochs=every, fixed_scale=fixed),
        DeNetPictures(folder / "denet", probes, every_n_epochs=every, fixed_scale=fixed),
        FilterPictures(folder / "filters", probes, every_n_epochs=every, fixed_scale=fixed),
        TopActivationPictures(
            folder / "top_activations", reference_images(data), maps=settings.top_maps, every_n_epochs=every, fixed_scale=fixed
        ),
        OcclusionPictures(folder / "occlusion", probes, every_n_epochs=last),
        InvariancePictures(folder / "invariance", probes, every_n_epochs=last),
        DeadMapsLogger("test", every_n_epochs=every if settings.metrics else 0),
        FilterMetricsLogger(every_n_epochs=every if settings.metrics else 0),
        ProjectionMetricsLogger(probes, every_n_epochs=every if settings.metrics else 0),
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


def save_probes(probes: Probes, folder: Path) -> None:
    """Write the probes as people see them, ``PROBE.webp``, and ``index.json`` with name, class and part of each."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, name in enumerate(probes.names):
        place = probes.folder(number)
        Image.fromarray(probes.original(number)).save(folder / f"{place}.webp", quality=80)
        true_class = probes.class_names[int(probes.targets[number])]
        entries.append({"place": place, "name": name, "class": true_class, "part": probes.notes[number]})
    atomic_write_text(folder / "index.json", json.dumps(entries, indent=1))


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
    """Return the last weights of the run in this folder, and its data, ready to look at.

    Raises:
        SettingsError: where either is missing.
    """
    settings = load_settings(run / "config.yaml")
    network, _ = load_network(run / "checkpoints/last.ckpt")
    data = build_datamodule(settings.data, settings.data.image_size or IMAGE_SIZES[settings.model.name], settings.seed)
    data.prepare_data()
    data.setup("fit")
    return network.to(memory_format=torch.channels_last), data
