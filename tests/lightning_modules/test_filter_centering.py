"""Centred filters: what the projection does, that a training keeps them so, and that each layer turns at the same rate."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from torch import nn

from configs import OptimSettings
from datamodules.datamodule import ImageDataModule
from lightning_modules.classifier import Classifier
from lightning_modules.filter_centering import are_centered, center_filters, conv_weights
from lightning_modules.networks.layers import initialise
from tests.small_network import small_network


def test_each_filters_mean_is_taken_away_and_what_is_centred_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.randn(20, 3, 5, 4, dtype=torch.float64) * torch.linspace(0.01, 3, 20)[:, None, None, None] + 0.3
    weights = before.clone()
    assert not are_centered([weights])
    center_filters([weights])
    assert are_centered([weights])
    for old, new in zip(before, weights, strict=True):
        values = old.flatten().tolist()
        assert new.flatten().tolist() == pytest.approx([value - sum(values) / len(values) for value in values])
    again = weights.clone()
    center_filters([again])
    torch.testing.assert_close(again, weights)


def test_one_filter_with_a_mean_is_found() -> None:
    weights = [torch.randn(4, 3, 5, 5), torch.randn(6, 4, 3, 3)]
    center_filters(weights)
    assert are_centered(weights)
    weights[1][2] += 0.01
    assert not are_centered(weights)


def test_a_training_keeps_means_at_zero_and_every_layer_turns_at_the_same_rate(
    shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    network = small_network()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            initialise(layer, "relu")
    model = Classifier(network, 8, OptimSettings(filter_rate=0.05, warmup_epochs=0), shapes.steps_per_epoch)
    before = [weights.detach().clone() for weights in conv_weights(model.network)]
    make_trainer(2, [], precision="bf16-mixed").fit(model, shapes)
    for old, new in zip(before, conv_weights(model.network), strict=True):
        for weights in (old, new):
            assert weights.mean((1, 2, 3)).tolist() == pytest.approx([0] * len(weights), abs=1e-6)
        turned = F.cosine_similarity(old.flatten(1), new.flatten(1)).acos()
        steps = 2 * shapes.steps_per_epoch
        assert 0.1 * 0.05 * math.sqrt(steps) < float(turned.median()) < 0.05 * steps


def test_rates_are_relative_to_the_filters_size(shapes: ImageDataModule, make_trainer: Callable[..., Trainer]) -> None:
    optim = OptimSettings(lr=0.001, filter_rate=0.05, bias_rate=0.02, weight_decay=0.3)
    model = Classifier(small_network(), 8, optim, shapes.steps_per_epoch)
    trainer = make_trainer(1, [])
    trainer.fit(model, shapes)
    rates = [(group["initial_lr"], group["weight_decay"]) for group in trainer.optimizers[0].param_groups]
    assert rates == [
        (0.001, 0.3), (0.001, 0.0), (pytest.approx(0.05 * math.sqrt(2 / (3 * 7 * 7))), 0.3),
        (pytest.approx(0.05 * math.sqrt(2 / (6 * 3 * 3))), 0.3), (0.02, 0.3),
    ]  # fmt: skip
    convolutions = [layer for layer in model.network if isinstance(layer, nn.Conv2d)]
    assert [*map(id, trainer.optimizers[0].param_groups[-1]["params"])] == [id(layer.bias) for layer in convolutions]
    grouped = [each for group in trainer.optimizers[0].param_groups for each in group["params"]]
    assert len(grouped) == len({id(each) for each in grouped}) == len(list(model.parameters()))


@pytest.mark.parametrize("optim", [OptimSettings(filter_rate=0), OptimSettings(name="sgd", filter_rate=0.05)])
def test_filters_are_left_alone_without_a_rate_of_their_own_or_by_sgd(
    optim: OptimSettings, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    network = small_network()
    (start, _) = (weights.detach().clone() for weights in conv_weights(network))
    model = Classifier(network, 8, optim, shapes.steps_per_epoch)
    assert torch.equal(conv_weights(model.network)[0], start)
    trainer = make_trainer(1, [])
    trainer.fit(model, shapes)
    assert len(trainer.optimizers[0].param_groups) == 2
    assert not are_centered(conv_weights(model.network))
