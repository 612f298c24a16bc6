"""The callback that counts dead maps while the validation runs."""

from collections.abc import Callable

import pytest
import torch
from lightning import Trainer

from datamodules.datamodule import ImageDataModule
from datamodules.datasets import Batch
from datamodules.transforms import resize
from lightning_modules.classifier import Classifier
from viz_callbacks.callbacks import DeadMapsLogger
from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record


@pytest.fixture
def half_dead(classifier: Classifier) -> Classifier:
    """The first two maps of conv2 show nothing on any image, the third one on all test images but one."""
    with torch.no_grad():
        classifier.network.get_parameter("conv2.bias")[:2] = -1e6
    return classifier


def test_dead_are_maps_that_show_nothing_on_any_image_of_that_loader(
    half_dead: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer(1, [DeadMapsLogger("test")])
    trainer.fit(half_dead, shapes)
    images = shapes.normalise(torch.stack([resize(shapes.image_set.images[index], 67) for index in shapes.split.test]))
    traces = record(half_dead.network, images)
    for layer in ("conv1", "conv2"):
        maps = feature_maps(traces, layer)
        dead = sum(len(torch.unique(maps[:, k])) == 1 for k in range(maps.shape[1]))
        assert trainer.callback_metrics[f"dead/{layer}"] == dead
    assert trainer.callback_metrics["dead/conv2"] >= 2
    assert not any(layer._forward_hooks for layer in half_dead.network.modules())


def test_images_of_other_loaders_do_not_count(
    half_dead: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer(1, [DeadMapsLogger("neither")])
    trainer.fit(half_dead, shapes)
    assert not [name for name in trainer.callback_metrics if name.startswith("dead/")]


@pytest.mark.parametrize(("every", "logged"), [(0, False), (1, True)])
def test_only_when_due(
    every: int, logged: bool, classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer(1, [DeadMapsLogger("test", every_n_epochs=every)])
    trainer.fit(classifier, shapes)
    assert ("dead/conv1" in trainer.callback_metrics) == logged


class Failing(Classifier):
    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        raise RuntimeError("the disk is full")


def test_no_hooks_are_left_when_the_validation_raises(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    model = Failing(classifier.network, 8, classifier.optim, shapes.steps_per_epoch)
    with pytest.raises(RuntimeError, match="the disk is full"):
        make_trainer(1, [DeadMapsLogger("test")]).fit(model, shapes)
    assert not any(layer._forward_hooks for layer in model.network.modules())
