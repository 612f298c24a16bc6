"""The numbers of a network's projections: each is its measure, applied to the picture that its name says."""

from collections.abc import Mapping
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from datamodules.datamodule import ImageDataModule
from tests.small_network import small_network
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet
from viz_callbacks.methods.gradient import gradient
from viz_callbacks.metrics.localisation import EnergyPointingGame
from viz_callbacks.metrics.projection_metrics import DeNet, ProjectionMetrics
from viz_callbacks.metrics.similarity import EdgeCorrelation, PairwiseCosine

Batch = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def batch(shapes: ImageDataModule) -> Batch:
    indices = shapes.find([])
    return shapes.normalise(shapes.images(indices)), torch.from_numpy(shapes.targets[indices]), shapes.masks(indices)


def measured(
    network: nn.Sequential, batch: Batch, size: int = 8, denet_variants: Mapping[str, DeNet] | None = None
) -> dict[str, float]:
    metrics = ProjectionMetrics(network, curve_steps=3, denet_variants=denet_variants)
    with torch.inference_mode():
        for start in range(0, len(batch[0]), size):
            images, targets, masks = (each[start : start + size] for each in batch)
            traces = record(network, images)
            projections = metrics.project(traces, targets)
            metrics.update(projections, images, masks)
            metrics.update_controls(traces, targets, projections)
    return metrics.compute()


def test_names_say_what_is_measured(batch: Batch) -> None:
    network = small_network()
    found = measured(network, batch)
    images, targets, masks = batch
    traces = record(network, images)
    assert found["detail/conv2"] == pytest.approx(float(EdgeCorrelation()(deconvolution(traces, "conv2"), images)), rel=1e-4)
    assert found["inside/denet"] == pytest.approx(float(EnergyPointingGame()(denet(traces, targets), masks)), rel=1e-4)
    assert found["inside/gradient"] == pytest.approx(
        float(EnergyPointingGame()(gradient(network, images, targets), masks)), rel=1e-4
    )
    assert found["inside/chance"] == pytest.approx(float(masks.float().mean()), rel=1e-4)
    classes = [denet(traces, (targets + shift) % 8) for shift in (0, 2, 5)]  # evenly spaced over 8 classes
    assert found["likeness/denet"] == pytest.approx(float(PairwiseCosine()(torch.stack(classes, 1))), rel=1e-4)
    assert {name.split("/")[1] for name in found if name.startswith("grid")} == {"conv1", "conv2", "denet", "gradient"}


def test_other_readings_of_denet_are_measured_beside_it(batch: Batch) -> None:
    network = small_network()
    images, targets, _ = batch
    without_bias = partial(denet, subtract_bias=False)
    found = measured(network, batch, denet_variants={"without_bias": without_bias})
    traces = record(network, images)
    assert found["detail/without_bias"] == pytest.approx(
        float(EdgeCorrelation()(without_bias(traces, targets), images)), rel=1e-4, abs=1e-6
    )
    classes = [without_bias(traces, (targets + shift) % 8) for shift in (0, 2, 5)]
    assert found["likeness/without_bias"] == pytest.approx(float(PairwiseCosine()(torch.stack(classes, 1))), rel=1e-4)
    plain = measured(network, batch)
    assert {name: found[name] for name in plain} == plain


def test_what_is_randomised_from_the_output_down(batch: Batch) -> None:
    found = measured(small_network(), batch)
    assert [name for name in found if name.startswith("randomised")] == [
        "randomised/denet/fc4",
        "randomised/denet/fc3",
        "randomised/denet/conv2",
        "randomised/conv2/conv2",
        "randomised/denet/conv1",
        "randomised/conv2/conv1",
    ]
    assert found["randomised/conv2/conv1"] < found["randomised/conv2/conv2"], "the further down, the less is left"


def test_batches_of_any_size_give_the_same_means(batch: Batch) -> None:
    one, other = (measured(small_network(), batch, size) for size in (8, 3))
    for name, value in one.items():
        if name not in ("likeness/random_start", "randomised"):  # the vectors are drawn for a whole batch
            assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_of_two_classes_the_true_one_is_compared_with_the_other_alone(batch: Batch) -> None:
    images, targets, masks = batch
    network, targets = small_network(num_classes=2), targets % 2
    found = measured(network, (images, targets, masks))
    traces = record(network, images)
    classes = torch.stack([denet(traces, targets), denet(traces, 1 - targets)], 1)
    assert found["likeness/denet"] == pytest.approx(float(PairwiseCosine()(classes)), rel=1e-4)
