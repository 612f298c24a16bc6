"""Filter clipping: what it does to the weights, what it counts, and when it leaves a training alone."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from configs import OptimSettings
from datamodules.datamodule import ImageDataModule
from experiment.csv_recorder import CSVRecorder
from experiment.run import train
from experiment.run_folder import open_run, read_rows
from lightning_modules.classifier import Classifier
from lightning_modules.filter_clipping import FilterClipping, clip_filters
from tests.small_network import small_network


def plain_rms(one_filter: Tensor) -> float:
    values = one_filter.flatten().tolist()
    return math.sqrt(sum(value * value for value in values) / len(values))


def test_only_filters_that_are_too_long_change_and_keep_their_direction() -> None:
    torch.manual_seed(0)
    before = torch.randn(40, 3, 5, 4) * torch.linspace(0.01, 0.3, 40)[:, None, None, None]
    before[7] = 0
    weights = before.clone()
    clipped = clip_filters(weights, 0.1)
    expected = [plain_rms(each) > 0.1 for each in before]
    assert clipped.tolist() == expected
    assert 5 < sum(expected) < 35
    for old, new, too_long in zip(before, weights, expected, strict=True):
        if too_long:
            factor = 0.1 / plain_rms(old)
            torch.testing.assert_close(new, torch.tensor([factor * value for value in old.flatten()]).view_as(old))
            assert plain_rms(new) == pytest.approx(0.1, rel=1e-6)
        else:
            assert torch.equal(new, old)
    assert not clip_filters(weights, 0.1).any(), "those at the radius are not too long"


def test_weights_of_a_layer_are_clipped_in_place_without_autograd_noticing() -> None:
    layer = nn.Conv2d(4, 6, 3, groups=2)
    assert clip_filters(layer.weight, 1e-3).all()
    assert [plain_rms(each) for each in layer.weight] == pytest.approx([1e-3] * 6)
    assert layer.weight.requires_grad
    assert layer.weight.grad_fn is None


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan])
def test_a_radius_that_is_none_is_refused(radius: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        clip_filters(torch.ones(1, 1, 1, 1), radius)


def test_the_scaled_radius_does_to_scaled_inputs_what_the_papers_does_to_grey_levels(shapes: ImageDataModule) -> None:
    torch.manual_seed(0)
    images, scale = torch.randn(2, 3, 20, 20, dtype=torch.float64) * 80, shapes.grey_levels_per_unit
    layers = [[nn.Conv2d(3, 8, 7).double(), nn.Conv2d(8, 5, 3).double()] for _ in range(2)]
    in_grey_levels, scaled = (nn.Sequential(*each) for each in layers)
    with torch.no_grad():
        layers[0][0].weight.mul_(torch.linspace(0.5, 8, 8)[:, None, None, None])
        layers[0][1].weight.mul_(torch.linspace(0.5, 8, 5)[:, None, None, None])
        scaled.load_state_dict(in_grey_levels.state_dict())
        layers[1][0].weight.mul_(scale)
        torch.testing.assert_close(in_grey_levels(images), scaled(images / scale))
        before = in_grey_levels(images)
        clipped = [clip_filters(layer.weight, 0.1) for layer in layers[0]]
        again = [clip_filters(layer.weight, radius) for layer, radius in zip(layers[1], (0.1 * scale, 0.1), strict=True)]
        torch.testing.assert_close(in_grey_levels(images), scaled(images / scale))
    assert not torch.allclose(before, in_grey_levels(images))
    assert all(torch.equal(one, other) and one.any() and not one.all() for one, other in zip(clipped, again, strict=True))


def test_a_unit_of_input_is_about_80_grey_levels(shapes: ImageDataModule) -> None:
    dark, bright = (shapes.normalise(torch.full((1, 3, 2, 2), level, dtype=torch.uint8)) for level in (60, 180))
    assert shapes.grey_levels_per_unit == pytest.approx(80.5, abs=0.1)
    assert float((bright - dark).mean()) == pytest.approx(120 / shapes.grey_levels_per_unit, rel=0.01)


class Recount(Callback):
    """Stands before the clipping and counts, after each step, what is too long."""

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = limits
        self.epochs: list[dict[str, list[set[int]]]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.epochs.append({name: [] for name in self.limits})

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        for name, limit in self.limits.items():
            weights = pl_module.network.get_parameter(f"{name}.weight")
            self.epochs[-1][name].append({k for k, each in enumerate(weights) if plain_rms(each) > limit * 1.00001})


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_each_epoch_counts_the_different_filters_that_were_clipped(
    precision: str, shapes: ImageDataModule, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    shapes.settings.batch_size = 8
    model = Classifier(small_network(), 8, OptimSettings(name="adamw", lr=0.02, weight_decay=0), shapes.steps_per_epoch)
    recount = Recount({"conv1": 0.05, "conv2": 0.08})
    clipping = FilterClipping(0.08, 0.05 / 0.08)
    trainer = make_trainer(3, [recount, clipping, CSVRecorder(tmp_path, "t")], precision=precision)
    trainer.fit(model, shapes)
    rows = read_rows(tmp_path / "metrics.csv")
    assert len(rows) == len(recount.epochs) == 3
    for row, epoch in zip(rows, recount.epochs, strict=True):
        for name, batches in epoch.items():
            assert row[f"clipped/{name}"] == len(set.union(*batches))
    assert {"clipped/conv1", "clipped/conv2"} <= set(trainer.callback_metrics)
    counts = [row[f"clipped/{name}"] for row in rows for name in recount.limits]
    assert len(set(counts)) > 1, "there is something to count"
    assert any(
        max(map(len, batches)) < len(set.union(*batches)) < sum(map(len, batches))
        for epoch in recount.epochs
        for batches in epoch.values()
    ), "some are clipped in several batches, and no batch has them all"
    for name, limit in recount.limits.items():
        weights = model.network.get_parameter(f"{name}.weight")
        assert weights.dtype == torch.float32
        assert max(plain_rms(each) for each in weights) <= limit * 1.00001


def test_a_radius_far_above_changes_no_bit(shapes: ImageDataModule, make_trainer: Callable[..., Trainer]) -> None:
    ends = []
    for callbacks in ([], [FilterClipping(1000.0, 80.0)]):
        torch.manual_seed(5)
        model = Classifier(small_network(), 8, OptimSettings(name="sgd", lr=0.01), shapes.steps_per_epoch, seed=3)
        trainer = make_trainer(2, callbacks)
        trainer.fit(model, shapes)
        ends.append(model.network.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert not torch.equal(ends[0]["conv1.weight"], small_network().get_parameter("conv1.weight")), "it has learnt"
    assert [float(trainer.callback_metrics[f"clipped/{name}"]) for name in ("conv1", "conv2")] == [0, 0]


class BuiltError(Exception):
    """A run was about to begin."""


@pytest.mark.parametrize(("radius", "expected"), [("0", []), ("0.1", [(0.1, pytest.approx(80.5, abs=0.1))])])
def test_a_run_clips_where_it_is_asked_to(
    radius: str, expected: list[tuple[float, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Callback] = []

    def trainer(callbacks: list[Callback], **others: Any) -> None:
        given.extend(callbacks)
        raise BuiltError

    monkeypatch.setattr("experiment.run.Trainer", trainer)
    monkeypatch.setattr("experiment.run.build_network", lambda settings, num_classes: small_network(num_classes))
    for lasting in ("configure_malloc", "install_signal_handlers"):  # they would last as long as the tests
        monkeypatch.setattr(f"experiment.run.{lasting}", lambda: None)
    arguments = ["data=shapes", "data.image_size=67", "data.images_per_class=10", "logger=none", f"runs={tmp_path}"]
    with pytest.raises(BuiltError):
        train(open_run([*arguments, f"optim.filter_radius={radius}"]))
    kinds = [type(callback) for callback in given]
    found = [callback for callback in given if isinstance(callback, FilterClipping)]
    assert [(callback.radius, callback.input_scale) for callback in found] == expected
    assert all(kinds.index(FilterClipping) < kinds.index(CSVRecorder) for _ in found), "its counts join the row of the epoch"
