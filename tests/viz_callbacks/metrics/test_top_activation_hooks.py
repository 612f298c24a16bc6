"""What hooks find while a network evaluates, against a scan of all images at once; and that none is left."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.layers import pool_before_relu
from tests.small_network import small_network
from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record
from viz_callbacks.metrics.top_activations import TopActivationHooks


def hook_count(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(30, 3, 67, 67, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
@pytest.mark.parametrize("pools_first", [False, True])
def test_what_is_found_in_the_passing_batches_is_what_a_scan_finds(layer: str, pools_first: bool, images: Tensor) -> None:
    network = small_network().eval()
    forward = pool_before_relu(network) if pools_first else network
    with TopActivationHooks(network, ["conv1", "conv2"], keep=4) as hooks, torch.no_grad():
        for start in range(0, 30, 7):
            hooks.set_batch_indices(torch.arange(start, start + 7) + 100 if start < 28 else None)  # the last is left out
            forward(images[start : start + 7])
    found = hooks.metrics[layer].compute()
    maps = feature_maps(record(network, images[:28]), layer)
    values, order = maps.flatten(2).amax(2).T.sort(dim=1, descending=True, stable=True)
    torch.testing.assert_close(found["values"], values[:, :4])
    assert torch.equal(found["images"], order[:, :4] + 100)


def test_a_batch_norm_before_the_activation_is_watched_at_its_output() -> None:
    norm = nn.BatchNorm2d(4)
    nn.init.normal_(norm.weight)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(inplace=True), nn.MaxPool2d(2)).eval()
    images = torch.randn(5, 3, 12, 12)
    with TopActivationHooks(network, ["0"]) as hooks, torch.no_grad():
        hooks.set_batch_indices(torch.arange(5))
        network(images)
    maps = feature_maps(record(network, images), "0")
    torch.testing.assert_close(hooks.metrics["0"].compute()["values"][:, 0], maps.flatten(2).amax(2).amax(0))


class Twice(nn.Module):
    """One convolution and one rectifier for both steps, and a rectifier that is a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last, self.relu = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> object:
        return F.silu(F.dropout(self.last(self.relu(self.conv(self.relu(self.conv(x))))), 0.5, self.training))


@pytest.mark.parametrize("layer", ["conv", "conv_1", "last"])
def test_a_convolution_used_twice_is_watched_where_its_name_says(layer: str) -> None:
    torch.manual_seed(0)
    network, images = Twice().eval(), torch.randn(9, 3, 12, 12)
    with TopActivationHooks(network, [layer], keep=3) as hooks, torch.no_grad():
        for start in range(0, 9, 4):
            hooks.set_batch_indices(torch.arange(start, min(9, start + 4)))
            network(images[start : start + 4])
    maps = feature_maps(record(network, images), layer)
    values, order = maps.flatten(2).amax(2).T.sort(dim=1, descending=True, stable=True)
    found = hooks.metrics[layer].compute()
    torch.testing.assert_close(found["values"], values[:, :3])
    assert torch.equal(found["images"], order[:, :3])


def test_hooks_are_there_inside_the_context_only(images: Tensor) -> None:
    network = small_network().eval()
    hooks = TopActivationHooks(network, ["conv1", "conv2"])
    assert hook_count(network) == 0
    for _ in range(2):  # it can be entered again, and finds more
        with hooks, torch.no_grad():
            assert hook_count(network) == 2
            network(images[:2])
        assert hook_count(network) == 0
    assert hooks.metrics == {}, "nobody said which images these are"


def test_no_hook_is_left_when_the_evaluation_raises(images: Tensor) -> None:
    network = small_network().eval()

    def evaluate() -> None:
        with TopActivationHooks(network, ["conv1", "conv2"]) as hooks:
            hooks.set_batch_indices(torch.arange(2))
            network(images[:2, :2])

    with pytest.raises(RuntimeError, match="to have 3 channels"):
        evaluate()
    assert hook_count(network) == 0


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(ValueError, match="There is no layer 'conv9'"):
        TopActivationHooks(small_network(), ["conv9"])
