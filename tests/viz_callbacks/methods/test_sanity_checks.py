"""Randomised weights, deletion and insertion, where the right answer is known."""

import copy

import pytest
import torch
from torch import nn

from tests.small_network import small_network
from viz_callbacks.methods.sanity_checks import (
    blur,
    cascading_randomization,
    deletion_curve,
    insertion_curve,
)
from viz_callbacks.metrics.faithfulness import auc


def test_layers_are_randomised_from_the_output_down_and_the_network_stays() -> None:
    network = small_network()
    before = copy.deepcopy(network.state_dict())
    changed = []
    for name, twin in cascading_randomization(network):
        changed.append(name)
        for layer in ("conv1", "conv2", "fc3", "fc4"):
            one, other = (each.state_dict()[f"{layer}.weight"] for each in (network, twin))
            assert torch.equal(one, other) == (layer not in changed)
            assert float(other.std()) == pytest.approx(float(one.std()), rel=0.1)
            assert float(other.mean()) == pytest.approx(float(one.mean()), abs=0.1 * float(one.std()))
            assert (one.data_ptr() == other.data_ptr()) == (layer not in changed), "no copy of what stays"
    assert changed == ["fc4", "fc3", "conv2", "conv1"]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    again = {name: twin.state_dict()["fc4.weight"].clone() for name, twin in cascading_randomization(network)}
    assert torch.equal(again["fc4"], again["conv1"]), "randomised once, and by a seed"


def brightness_network() -> nn.Sequential:
    """The first class's logit is the image's sum, the second's is 0."""
    dense = nn.Linear(16, 2)
    with torch.no_grad():
        dense.weight.copy_(torch.tensor([[1.0], [0.0]]).expand(2, 16))
        dense.bias.zero_()
    return nn.Sequential(nn.Flatten(), dense)


def test_deletion_takes_the_most_energetic_pixels_first() -> None:
    torch.manual_seed(0)
    images, targets = torch.rand(3, 1, 4, 4), torch.tensor([0, 0, 1])
    curve = deletion_curve(brightness_network(), images, targets, -images, steps=4)  # the sign of a picture doesn't matter
    for image, target, found in zip(images, targets, curve, strict=True):
        left = sorted(image.flatten().tolist())
        for step in range(5):
            share = torch.tensor(sum(left[: 16 - 4 * step])).sigmoid()
            assert found[step] == pytest.approx(float(share if target == 0 else 1 - share), abs=1e-6)
    worst = deletion_curve(brightness_network(), images[:1], targets[:1], 1 - images[:1], steps=4)
    assert float(auc(curve[:1])) < float(auc(worst))


def test_insertion_ends_at_the_image_and_starts_from_its_blur() -> None:
    torch.manual_seed(0)
    images, targets = torch.rand(2, 1, 4, 4), torch.tensor([0, 0])
    network = brightness_network()
    curve = insertion_curve(network, images, targets, images, steps=8)
    for number, seen in ((0, blur(images)), (-1, images)):
        torch.testing.assert_close(curve[:, number], network(seen).softmax(1)[:, 0])
    assert curve[:, 4].gt(curve[:, 0]).all(), "the brightest pixels came first"


def test_a_blur_keeps_what_is_even_and_spreads_a_point_by_a_gauss_curve() -> None:
    torch.testing.assert_close(blur(torch.full((1, 3, 20, 30), 0.7)), torch.full((1, 3, 20, 30), 0.7))
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1
    spread = blur(point, sigma=3.0)[0, 0]
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    distance = torch.arange(41) - 20.0
    assert float((spread.sum(0) * distance.square()).sum()) ** 0.5 == pytest.approx(3, rel=0.03)
