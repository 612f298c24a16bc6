"""The callback for the strongest activations: what it leaves on disk, after how many epochs, and that training can't notice."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from configs import OptimSettings
from datamodules.datamodule import ImageDataModule
from datamodules.datasets import Batch
from datamodules.transforms import resize
from lightning_modules.classifier import Classifier
from tests.small_network import small_network
from viz_callbacks.callbacks import ReferenceImages, TopActivationPictures
from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record


def images_of(shapes: ImageDataModule) -> Tensor:
    return shapes.normalise(torch.stack([resize(shapes.image_set.images[index], 67) for index in shapes.split.val]))


@pytest.fixture
def reference_images(shapes: ImageDataModule) -> ReferenceImages:
    def load(numbers: Sequence[int]) -> Tensor:
        return images_of(shapes)[list(numbers)]

    return ReferenceImages("val", [shapes.files[index] for index in shapes.split.val], load, shapes.denormalise)


def test_the_strongest_of_the_validation_images_with_names_values_and_pictures(
    classifier: Classifier,
    shapes: ImageDataModule,
    reference_images: ReferenceImages,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    make_trainer(3, [TopActivationPictures(tmp_path, reference_images, maps=3, epochs=(1, 2))]).fit(classifier, shapes)
    index = json.loads((tmp_path / "index.json").read_text())
    assert list(index) == ["1", "2", "3"]
    assert [entry["place"] for entry in index["3"]] == ["conv1", "conv2"]
    traces = record(classifier.network, images_of(shapes))
    for entry in index["3"]:
        maps = feature_maps(traces, entry["place"])
        strongest = maps.flatten(2).amax(2).double()
        ninth = strongest.sort(dim=0, descending=True).values[8]
        few = (ninth <= 0) | (ninth < ninth.quantile(0.5))
        unevenness = 1 - strongest.mean(0).square() / strongest.square().mean(0)
        sparseness = (unevenness / (1 - 1 / len(strongest))).nan_to_num(0)
        best = (sparseness - 2 * few.double()).argsort(descending=True)[:3]
        assert sorted(facts["map"] for facts in entry["maps"]) == sorted((best + 1).tolist())
        spaced = [1, 1 + maps.shape[1] // 3, 1 + 2 * maps.shape[1] // 3]
        assert [facts["map"] for facts in entry["history"]] == spaced
        for facts in entry["history"]:
            value, image = strongest[:, facts["map"] - 1].max(0)
            assert facts["value"] == pytest.approx(float(value), rel=1e-5)
            assert facts["image"] == reference_images.names[int(image)]
        for facts in entry["maps"]:
            assert facts["sparseness"] == pytest.approx(float(sparseness[facts["map"] - 1]), abs=1e-3)
            values, order = maps[:, facts["map"] - 1].flatten(1).amax(1).sort(descending=True, stable=True)
            assert facts["values"] == pytest.approx(values[:9].tolist(), rel=1e-5)
            assert facts["images"] == [reference_images.names[number] for number in order[:9]]
        assert np.asarray(Image.open(tmp_path / entry["sheet"]).convert("L")).std() > 5
        assert Image.open(tmp_path / entry["place"] / "evolution.jpg").width > 3 * 64


def test_more_maps_than_there_are_shows_all(
    classifier: Classifier,
    shapes: ImageDataModule,
    reference_images: ReferenceImages,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    make_trainer(1, [TopActivationPictures(tmp_path, reference_images, maps=8)]).fit(classifier, shapes)
    conv1, conv2 = json.loads((tmp_path / "index.json").read_text())["1"]
    assert sorted(facts["map"] for facts in conv1["maps"]) == [1, 2, 3, 4, 5, 6]
    assert [facts["map"] for facts in conv1["history"]] == [1, 2, 3, 4, 5, 6]
    assert len({facts["map"] for facts in conv2["maps"]}) == 8


def test_more_maps_after_the_last_epoch(
    classifier: Classifier,
    shapes: ImageDataModule,
    reference_images: ReferenceImages,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    make_trainer(2, [TopActivationPictures(tmp_path, reference_images, maps=2, maps_at_end=6)]).fit(classifier, shapes)
    found = json.loads((tmp_path / "index.json").read_text())
    assert [[len(entry["maps"]) for entry in found[epoch]] for epoch in ("1", "2")] == [[2, 2], [6, 6]]
    assert [[len(entry["history"]) for entry in found[epoch]] for epoch in ("1", "2")] == [[2, 2], [2, 2]]


def test_history_goes_on_after_an_interruption(
    classifier: Classifier,
    shapes: ImageDataModule,
    reference_images: ReferenceImages,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    trainer = make_trainer(1, [TopActivationPictures(tmp_path, reference_images, epochs=(1, 2))])
    trainer.fit(classifier, shapes)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    narrow = Image.open(tmp_path / "conv1/evolution.jpg").width
    make_trainer(2, [TopActivationPictures(tmp_path, reference_images, epochs=(1, 2))]).fit(
        classifier, shapes, ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert list(json.loads((tmp_path / "index.json").read_text())) == ["1", "2"]
    assert Image.open(tmp_path / "conv1/evolution.jpg").width >= narrow
    assert (tmp_path / "conv1/sprites/epoch-001-history-1.webp").exists()


@pytest.mark.parametrize("every", [0, 2])
def test_only_when_due(
    every: int,
    classifier: Classifier,
    shapes: ImageDataModule,
    reference_images: ReferenceImages,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    make_trainer(3, [TopActivationPictures(tmp_path, reference_images, every_n_epochs=every)]).fit(classifier, shapes)
    found = list(json.loads((tmp_path / "index.json").read_text())) if every else list(tmp_path.iterdir())
    assert found == (["2", "3"] if every else [])
    assert not any(layer._forward_hooks for layer in classifier.network.modules())


def test_training_is_bit_identical_with_and_without(
    shapes: ImageDataModule, reference_images: ReferenceImages, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    ends = []
    for callbacks in (list[Callback](), [TopActivationPictures(tmp_path, reference_images)]):
        torch.manual_seed(5)
        model = Classifier(small_network(), 8, OptimSettings(lr=0.01), shapes.steps_per_epoch, seed=3)
        make_trainer(2, callbacks).fit(model, shapes)
        ends.append((model.network.state_dict(), torch.get_rng_state()))
    assert all(torch.equal(ends[0][0][key], ends[1][0][key]) for key in ends[0][0])
    assert torch.equal(ends[0][1], ends[1][1])


class Batches(Dataset[Batch]):
    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = list(batches)

    def __getitem__(self, index: int) -> Batch:
        return self.batches[index]

    def __len__(self) -> int:
        return len(self.batches)


class WithoutMetrics(Classifier):
    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self(batch[0])


def test_with_a_single_loader_no_name_is_needed(
    shapes: ImageDataModule, reference_images: ReferenceImages, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    train, val = (
        DataLoader(Batches((shapes.normalise(images), targets) for images, targets in loader), batch_size=None)
        for loader in (shapes.train_dataloader(), shapes.val_dataloader()["val"])
    )
    model = WithoutMetrics(small_network(), 8, OptimSettings(), shapes.steps_per_epoch)
    callback = TopActivationPictures(tmp_path, replace(reference_images, loader=None))
    make_trainer(1, [callback]).fit(model, train, val)
    facts = json.loads((tmp_path / "index.json").read_text())["1"][0]["maps"][0]
    assert set(facts["images"]) <= set(reference_images.names)


class Failing(Classifier):
    fails = True

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx, dataloader_idx)
        assert any(layer._forward_hooks for layer in self.network.modules()), "they are there while it runs"
        if self.fails:
            raise RuntimeError("the disk is full")


def test_no_hooks_are_left_when_the_validation_raises(
    shapes: ImageDataModule, reference_images: ReferenceImages, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    model = Failing(small_network(), 8, OptimSettings(), shapes.steps_per_epoch)
    callback = TopActivationPictures(tmp_path, reference_images)
    with pytest.raises(RuntimeError, match="the disk is full"):
        make_trainer(1, [callback]).fit(model, shapes)
    assert not any(layer._forward_hooks for layer in model.network.modules())
    model.fails = False
    make_trainer(1, [callback]).fit(model, shapes)
    assert not any(layer._forward_hooks for layer in model.network.modules())
    assert (tmp_path / "conv2/epoch-001.jpg").exists(), "the same callback serves again"
