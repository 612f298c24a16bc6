"""Randomised weights, deletion and insertion, where the right answer is known."""

import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.small_network import small_network
from tests.viz_callbacks.engine.networks import Does
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.denet import denet
from viz_callbacks.methods.invariance import invariance
from viz_callbacks.methods.occlusion import occlusion
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


def changed_parameters(network: nn.Module) -> tuple[list[str], list[str]]:
    """The layers that were randomised, and the parameters that are still as they were when all are."""
    for parameter in network.parameters():
        nn.init.normal_(parameter)  # also what an untrained network has all equal
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    made = list(cascading_randomization(network))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.named_parameters())
    names, (*_, twin) = zip(*made, strict=True)
    return list(names), [name for name, tensor in twin.named_parameters() if torch.equal(tensor, before[name])]


def test_blocks_and_norms_are_randomised_too() -> None:
    names, unchanged = changed_parameters(torchvision.models.resnet18(weights=None, num_classes=3))
    assert names[:4] == ["fc", "layer4.1.bn2", "layer4.1.conv2", "layer4.1.bn1"]
    assert names[-2:] == ["bn1", "conv1"]
    assert unchanged == []


def test_weights_made_of_others_parameters_of_functions_and_closed_parts_are_randomised_too() -> None:
    def depends(self: Does, x: Tensor) -> object:
        return self.conv(x) if x.sum() > 0 else x

    def scaled(self: Does, x: Tensor) -> object:
        return self.block(self.conv(x)) * self.shift

    network = Does(
        scaled, conv=nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3)), block=Does(depends, conv=nn.Conv2d(3, 3, 1))
    )
    network.register_parameter("shift", nn.Parameter(torch.ones(3, 1, 1)))
    assert changed_parameters(network) == (["mul", "block", "conv"], [])


def test_a_layer_used_twice_is_randomised_once() -> None:
    conv = nn.Conv2d(3, 3, 3)
    assert changed_parameters(nn.Sequential(conv, nn.ReLU(), conv)) == (["2"], [])


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_a_network_that_ends_in_a_softmax_is_not_given_another(last: nn.Module) -> None:
    torch.manual_seed(0)
    images, targets, network = torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), brightness_network()
    expected = deletion_curve(network, images, targets, images, steps=4)
    torch.testing.assert_close(deletion_curve(nn.Sequential(*network, last), images, targets, images, steps=4), expected)
    conv = nn.Conv2d(1, 1, 1)
    found, without = (
        occlusion(nn.Sequential(conv, *network, *more), images[0], 0, "0", side=2, stride=2) for more in ([last], [])
    )
    torch.testing.assert_close(found.probability, without.probability)
    moved, without_last = (
        invariance(nn.Sequential(*network, *more), images, targets, [], "translation", [1.0]) for more in ([last], [])
    )
    torch.testing.assert_close(moved.probability, without_last.probability)
    assert denet(record(nn.Sequential(*network, last), images), targets).equal(denet(record(network, images), targets))


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
