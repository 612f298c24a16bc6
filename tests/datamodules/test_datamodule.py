"""Batches, their order, resuming, sharing between processes, normalisation and images by name, on generated shapes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor

from configs import DataSettings, SettingsError
from datamodules.datasets import EpochSampler
from datamodules.registry import build_datamodule
from datamodules.shapes import Shapes
from datamodules.transforms import augment, epoch_random_numbers, resize


def shapes(workers: int = 0, **changes: Any) -> Shapes:
    usual: dict[str, Any] = {
        "name": "shapes",
        "images_per_class": 10,
        "batch_size": 16,
        "train_sizes": [],
        "cutmix": 0.0,
        "test_crops": False,
        "workers": workers,
    }
    settings = DataSettings(**usual | changes)
    data = Shapes(settings, image_size=32, seed=1)
    data.setup()
    return data


def as_rank(data: Shapes, rank: int, world_size: int, epoch: int = 0, max_epochs: int = 6) -> Shapes:
    """The data as one of several processes sees them, in an epoch of a training."""
    progress = SimpleNamespace(current=SimpleNamespace(processed=epoch))
    trainer = SimpleNamespace(
        global_rank=rank, world_size=world_size, max_epochs=max_epochs, fit_loop=SimpleNamespace(epoch_progress=progress)
    )
    data.trainer = cast(lightning.Trainer, trainer)
    return data


def test_batches_are_augmented_images_in_the_order_of_the_epoch() -> None:
    data = shapes()
    order = np.random.default_rng((1, 0)).permutation(data.split.train)
    batches = list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader()) == len(data.split.train) // 16
    for k, (images, targets) in enumerate(batches):
        assert images.shape == (16, 3, 32, 32)
        assert (images.dtype, targets.dtype) == (torch.uint8, torch.int64)
        for position, index in enumerate(order[16 * k : 16 * k + 16]):
            expected = augment(
                data.image_set.images[index], 32, data.settings, epoch_random_numbers(len(data.files), 1, 0)[index]
            )
            assert torch.equal(images[position], expected)
            assert targets[position] == data.targets[index]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_images_grow_in_equal_stages(workers: int) -> None:
    found = []
    for epoch in range(8):  # of 6: a resumed run may have more
        loader = as_rank(shapes(workers, train_sizes=[20, 24, 40]), 0, 1, epoch).train_dataloader()
        found.append({images.shape[-1] for images, _ in loader})
    assert found == [{20}, {20}, {24}, {24}, {40}, {40}, {40}, {40}]
    evaluated = next(iter(shapes(train_sizes=[20, 24]).val_dataloader()["test"]))[0]
    assert evaluated.shape[-1] == 32


def test_mixing_ends_before_the_run_does() -> None:
    kinds = []
    for epoch in range(6):
        _, targets = next(iter(as_rank(shapes(cutmix=1.0), 0, 1, epoch).train_dataloader()))
        kinds.append(targets.ndim)
        if targets.ndim == 2:
            assert targets.shape == (16, 8)
            torch.testing.assert_close(targets.sum(1), torch.ones(16))
            assert (targets.max(1).values < 1).sum() > 8
    assert kinds == [2] * 6  # 7/8 of 6 epochs is within the last
    data = as_rank(shapes(cutmix=1.0), 0, 1, epoch=7, max_epochs=8)
    assert next(iter(data.train_dataloader()))[1].ndim == 1
    assert next(iter(shapes(cutmix=1.0).val_dataloader()["test"]))[1].ndim == 1


def test_the_end_of_a_run_sees_training_and_test_images_as_they_are() -> None:
    data = shapes()
    loaders = data.test_dataloader()
    for name, part in (("train", data.split.train), ("test", data.split.test)):
        images, targets = (torch.cat(column) for column in zip(*loaders[name], strict=True))
        assert torch.equal(targets, torch.from_numpy(data.targets[part]))
        assert torch.equal(images[-1], resize(data.image_set.images[part[-1]], 32))


def test_workers_change_nothing() -> None:
    alone, helped = (list(shapes(workers, cutmix=0.5).train_dataloader()) for workers in (0, 2))
    for (images, targets), (same_images, same_targets) in zip(alone, helped, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(targets, same_targets)


def test_epochs_differ_in_order() -> None:
    sampler = EpochSampler(np.arange(20), seed=1, global_batch=4, rank=0, world_size=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert [epoch for epoch, _ in first + second] == [0] * 20 + [1] * 20
    assert [index for _, index in first] != [index for _, index in second]
    assert sorted(index for _, index in first) == list(range(20))


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_each_global_batch(world_size: int) -> None:
    alone = [index for _, index in EpochSampler(np.arange(30), 1, 8, 0, 1)]
    shards = [[index for _, index in EpochSampler(np.arange(30), 1, 8, rank, world_size)] for rank in range(world_size)]
    assert len(alone) == 24
    local = 8 // world_size
    for k in range(3):
        together = sorted(index for shard in shards for index in shard[k * local : (k + 1) * local])
        assert together == sorted(alone[8 * k : 8 * k + 8])


def test_processes_evaluate_each_image_once() -> None:
    for part in ("val", "test"):
        seen = []
        for rank in range(3):
            loader = as_rank(shapes(batch_size=15), rank, 3).val_dataloader()[part]
            seen += [targets for _, targets in loader]
        data = shapes()
        expected = np.bincount(data.targets[getattr(data.split, part)])
        assert np.bincount(torch.cat(seen)).tolist() == expected.tolist()


def test_loader_of_a_resumed_run_starts_at_its_epoch() -> None:
    loader = as_rank(shapes(), 0, 1, epoch=5).train_dataloader()
    epoch, _ = next(iter(loader.sampler))
    assert epoch == 5


class Recorder(lightning.LightningModule):
    """Trains nothing; keeps a fingerprint of each batch, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, list[float]]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, _ = batch
        self.seen.append((self.current_epoch, images.double().sum((1, 2, 3)).tolist()))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, epochs: int, workers: int, resume: Path | None = None) -> tuple[Recorder, Path]:
    module = Recorder()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=shapes(workers), ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(folder / "end.ckpt")
    return module, folder / "end.ckpt"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_run_sees_the_same_images(tmp_path: Path, workers: int) -> None:
    whole, _ = fit(tmp_path, 3, workers)
    begun, checkpoint = fit(tmp_path, 1, workers)
    resumed, _ = fit(tmp_path, 3, workers, resume=checkpoint)
    assert whole.seen == begun.seen + resumed.seen
    assert whole.seen[0][1] != whole.seen[len(begun.seen)][1]


def test_evaluation_batches() -> None:
    data = shapes()
    loaders = data.val_dataloader()
    assert list(loaders) == ["val", "test"]
    images = torch.cat([images for images, _ in loaders["test"]])
    targets = torch.cat([targets for _, targets in loaders["test"]])
    assert len(images) == len(data.split.test)
    assert torch.equal(images[3], resize(data.image_set.images[data.split.test[3]], 32))
    np.testing.assert_array_equal(targets, data.targets[data.split.test])
    assert list(shapes(val_fraction=0).val_dataloader()) == ["test"]


def test_normalise_and_back() -> None:
    data = shapes()
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    normal, _ = data.on_after_batch_transfer((images, torch.zeros(5)), 0)
    assert normal.dtype == torch.float32
    assert normal.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(data.denormalise(normal), images)
    torch.testing.assert_close(normal[0, 0, 0, 0], (images[0, 0, 0, 0] / 255 - 0.546) / 0.315)
    assert data.denormalise(torch.full((1, 3, 1, 1), 99.0)).tolist() == [[[[255]], [[255]], [[255]]]]


def test_images_are_found_by_file_or_class() -> None:
    data = shapes()
    assert [data.files[index] for index in data.find(["star/0003", "heart"])] == ["star/0003", "heart/0001"]
    assert [data.files[index] for index in data.find([])] == [f"{name}/0001" for name in data.class_names]
    with pytest.raises(SettingsError, match=r"no image or class 'sqare'; did you mean square\?"):
        data.find(["sqare"])


def test_images_by_number_are_as_evaluation_sees_them() -> None:
    data = shapes()
    index = data.files.index("star/0003")
    assert torch.equal(data.images([index, 0])[0], resize(data.image_set.images[index], 32))


def test_each_image_is_in_the_part_that_says_so() -> None:
    data = shapes()
    for index in data.find([]):
        assert index in getattr(data.split, data.split.part(index))
    other = shapes(split="per_class", train_per_class=1, test_per_class=1, val_fraction=0, batch_size=8)
    assert "unused" in [other.split.part(index) for index in other.find([])]


def test_a_batch_larger_than_the_training_part_is_explained() -> None:
    with pytest.raises(SettingsError, match=r"batch_size=1000: there are only 56 training images"):
        shapes(batch_size=1000)


def test_batch_that_does_not_divide_is_explained() -> None:
    with pytest.raises(SettingsError, match=r"batch_size=16 .* 3 can't share it evenly; take a multiple of 3 such as 15"):
        as_rank(shapes(), 0, 3).train_dataloader()


def test_data_sets_go_by_name() -> None:
    assert isinstance(build_datamodule(DataSettings(name="shapes"), 32, 1), Shapes)
    with pytest.raises(SettingsError, match="choose one of caltech101, folder, shapes"):
        build_datamodule(DataSettings(name="imagenet"), 32, 1)


def test_order_and_images_need_no_setup_twice() -> None:
    data = shapes()
    before = data.image_set
    data.setup("fit")
    assert data.image_set is before
    with pytest.raises(RuntimeError, match="setup"):
        _ = Shapes(DataSettings(), 32, 1).image_set
