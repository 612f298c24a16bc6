from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.viz_callbacks.engine import plain
from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.denet import denet, denet_of_classes, one_hot, project_vector


def test_two_dense_layers_by_hand() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    first.weight.data, first.bias.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.5, -1.0])
    second.weight.data, second.bias.data = torch.tensor([[1.0, -1.0], [2.0, 1.0]]), torch.tensor([0.25, 2.0])
    traces = record(nn.Sequential(nn.Flatten(), first, nn.ReLU(), second), torch.zeros(2, 1, 1, 2))
    # class 0: (1, 0) - (0.25, 2) = (0.75, -2); times W = (0.75 - 4, -0.75 - 2) = (-3.25, -2.75); rectified (0, 0);
    #          minus (0.5, -1) = (-0.5, 1); times W = (-0.5 + 3, -1 + 4) = (2.5, 3)
    # class 1: (0, 1) - (0.25, 2) = (-0.25, -1); times W = (-0.25 - 2, 0.25 - 1) = (-2.25, -0.75); rectified (0, 0): the same
    assert denet(traces, torch.tensor([0, 1])).tolist() == [[[[2.5, 3.0]]], [[[2.5, 3.0]]]]
    second.bias.data = torch.tensor([0.25, -1.0])
    # class 0: (0.75, 1) W = (0.75 + 2, -0.75 + 1) = (2.75, 0.25); minus bias (2.25, 1.25); W: (2.25 + 3.75, 4.5 + 5) = (6, 9.5)
    # class 1: (-0.25, 2) W = (-0.25 + 4, 0.25 + 2) = (3.75, 2.25); minus bias (3.25, 3.25); W: (3.25 + 9.75, 6.5 + 13)
    assert denet(traces, torch.tensor([0, 1])).tolist() == [[[[6.0, 9.5]]], [[[13.0, 19.5]]]]


def small_network() -> nn.Sequential:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 5, 2), nn.ReLU(inplace=True), nn.LocalResponseNorm(3, alpha=0.5, k=2.0), nn.MaxPool2d(3, 2),
        nn.Conv2d(5, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 2 * 2, 7), nn.ReLU(inplace=True), nn.Linear(7, 4),
    ).double()  # fmt: skip
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)  # biases that matter
    return network


def plain_denet(
    network: nn.Sequential, images: plain.Array, classes: list[int], rectify_dense: bool = True, subtract_bias: bool = True
) -> plain.Array:
    """DeNet of that very network, layer by layer in NumPy."""
    conv1, _, norm, pool1, conv2, _, pool2, flatten, _, fc1, _, fc2 = network
    rectified1 = np.maximum(plain.convolution(conv1, images), 0)
    normed = plain.response_norm(norm, rectified1)
    pooled1 = plain.max_pool(pool1, normed)
    rectified2 = np.maximum(plain.convolution(conv2, pooled1), 0)
    pooled2 = plain.max_pool(pool2, rectified2)
    flat, hidden, unused = pooled2.reshape(len(images), -1), np.zeros((len(images), 7)), np.empty(0)

    value: plain.Array = np.zeros((len(images), 4))
    for image, number in enumerate(classes):
        value[image, number] = 1
    if not subtract_bias:
        fc1, fc2 = without_bias(fc1), without_bias(fc2)
    value = plain.linear_transpose(fc2, hidden, unused, value)
    if rectify_dense:
        value = np.maximum(value, 0)
    value = plain.linear_transpose(fc1, flat, unused, value)
    value = plain.unflatten(flatten, pooled2, unused, value)
    value = plain.max_unpool(pool2, rectified2, pooled2, value)
    value = np.maximum(value, 0)
    value = plain.conv_transpose(conv2, pooled1, unused, value)
    value = plain.max_unpool(pool1, normed, pooled1, value)
    value = np.maximum(value, 0)
    return plain.conv_transpose(conv1, images, unused, value)


def without_bias(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    other = nn.Linear(layer.in_features, layer.out_features, bias=False)
    other.weight = layer.weight
    return other


@pytest.fixture
def network() -> nn.Sequential:
    return small_network()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 25, 25, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_a_whole_network_equals_the_plain_version(network: nn.Sequential, images: Tensor) -> None:
    classes = [2, 0, 3, 1]
    expected = torch.from_numpy(plain_denet(network, images.numpy(), classes))
    assert (expected.abs().amax((1, 2, 3)) > 0).all()
    torch.testing.assert_close(denet(record(network.train(), images), torch.tensor(classes)), expected)


@pytest.mark.parametrize(("rectify_dense", "subtract_bias"), [(True, False), (False, True), (False, False)])
def test_each_option_equals_the_plain_version(
    rectify_dense: bool, subtract_bias: bool, network: nn.Sequential, images: Tensor
) -> None:
    classes = [2, 0, 3, 1]
    expected = torch.from_numpy(plain_denet(network, images.numpy(), classes, rectify_dense, subtract_bias))
    found = denet(record(network, images), torch.tensor(classes), rectify_dense, subtract_bias)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, denet(record(network, images), torch.tensor(classes)))


class WithFunctions(nn.Module):
    """That network with its dense layers called as functions."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.features, self.fc1, self.fc2 = network[:9], cast(nn.Linear, network[9]), cast(nn.Linear, network[11])

    def forward(self, x: Tensor) -> Tensor:
        fc1, fc2 = self.fc1, self.fc2
        hidden = F.relu(F.linear(self.features(x), fc1.weight, bias=fc1.bias))
        return F.linear(hidden, fc2.weight - 0, fc2.bias)


@pytest.mark.parametrize("subtract_bias", [True, False])
def test_a_dense_layer_that_is_called_as_a_function_is_one(subtract_bias: bool, network: nn.Sequential, images: Tensor) -> None:
    expected = torch.from_numpy(plain_denet(network, images.numpy(), [2, 0, 3, 1], subtract_bias=subtract_bias))
    traces = record(WithFunctions(network), images)
    torch.testing.assert_close(denet(traces, torch.tensor([2, 0, 3, 1]), subtract_bias=subtract_bias), expected)


def test_several_classes_of_the_same_images(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    pictures = denet_of_classes(traces, [3, 1])
    assert pictures.shape == (4, 2, *images.shape[1:])
    torch.testing.assert_close(pictures[:, 1], denet(traces, torch.full((4,), 1)))


def test_a_vector_that_is_one_hot_is_a_class(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    start = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(project_vector(traces, start), denet(traces, torch.arange(4)))
    assert not torch.allclose(project_vector(traces, torch.rand(4, 4).double()), denet(traces, torch.arange(4)))


def test_it_is_not_homogeneous_where_dense_layers_have_biases(network: nn.Sequential, images: Tensor) -> None:
    def ratio() -> float:
        traces = record(network, images)
        start = one_hot(traces[-1].output, torch.tensor([0, 1, 2, 3]))
        once, twice = backproject(traces, start), backproject(traces, 2 * start)
        return float((twice - 2 * once).norm() / once.norm())

    assert ratio() > 0.1
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    assert ratio() < 1e-12


def test_classes_give_different_pictures_and_images_do_not_depend_on_their_batch(
    network: nn.Sequential, images: Tensor
) -> None:
    same = images[:1].expand(4, -1, -1, -1)
    pictures = denet(record(network, same), torch.arange(4))
    assert len({tuple(picture.flatten().tolist()) for picture in pictures}) > 1
    for number in range(4):
        alone = denet(record(network, images[:1]), torch.tensor([number]))
        torch.testing.assert_close(alone[0], pictures[number])


def test_it_runs_in_inference_mode_and_leaves_a_network_in_training_alone(network: nn.Sequential, images: Tensor) -> None:
    network.train()
    random_state = torch.get_rng_state()
    with torch.inference_mode():
        inferred = denet(record(network, images), torch.arange(4))
    assert torch.equal(denet(record(network, images), torch.arange(4)), inferred)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_start_is_one_hot() -> None:
    start = one_hot(torch.randn(3, 4, dtype=torch.bfloat16), torch.tensor([1, 0, 3]))
    assert start.dtype == torch.bfloat16
    assert start.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("logits", "classes", "message"),
    [
        (torch.randn(2, 4), torch.tensor([1, 4]), r"must lie in 0 ... 3, not \[1, 4\]"),
        (torch.randn(2, 4), torch.tensor([-1, 0]), r"must lie in 0 ... 3"),
        (torch.randn(2, 4), torch.tensor([1]), r"\(2, 4\) and \(1,\)"),
        (torch.randn(2, 4, 1, 1), torch.tensor([1, 1]), r"\(2, 4, 1, 1\) and \(2,\)"),
    ],
)
def test_classes_that_do_not_fit_are_refused(logits: Tensor, classes: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one_hot(logits, classes)
