"""What a run looks at: the images of its data set, handed to the callbacks of ``viz_callbacks``."""

from pathlib import Path
from typing import Any

from lightning import Callback

from configs import VizSettings
from datamodules import ImageDataModule
from viz_callbacks import (
    DeconvolutionPictures,
    DeNetPictures,
    FilterPictures,
    Gallery,
    InvariancePictures,
    LogNumbers,
    OcclusionPictures,
    Probes,
    StrongestPictures,
)


def looks(settings: VizSettings, data: ImageDataModule, probes: Probes, folder: Path, max_epochs: int) -> list[Callback]:
    """The callbacks that look at the network while it learns; their pictures go below ``folder``."""
    when: dict[str, Any] = {"every_n_epochs": settings.every_n_epochs, "fixed_scale": settings.scale == "fixed"}
    last = max_epochs if settings.answers else 0
    return [
        DeconvolutionPictures(folder / "deconvolution", probes, settings.maps, **when),
        DeNetPictures(folder / "denet", probes, **when),
        FilterPictures(folder / "filters", probes, **when),
        StrongestPictures(folder / "strongest", gallery(data), settings.strongest, **when),
        OcclusionPictures(folder / "occlusion", probes, every_n_epochs=last),
        InvariancePictures(folder / "invariance", probes, every_n_epochs=last),
        LogNumbers(probes, every_n_epochs=settings.every_n_epochs if settings.numbers else 0),
    ]


def probes_of(data: ImageDataModule, names: list[str]) -> Probes:
    """The probes of these names, or the data set's own. Raises SettingsError for an unknown name."""
    found = data.probes(names)
    return Probes(
        found.names,
        data.normalise(found.images),
        found.images,
        found.targets,
        data.class_names,
        found.parts,
        found.outlines,
    )


def gallery(data: ImageDataModule) -> Gallery:
    """The images among which the strongest activations are sought: those of the validation, or else of the test."""
    part = "val" if len(data.split.val) else "test"
    watched = getattr(data.split, part)
    return Gallery(
        part, [data.files[i] for i in watched], lambda numbers: data.normalise(data.images(watched[numbers])), data.denormalise
    )
