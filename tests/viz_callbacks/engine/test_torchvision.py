"""torchvision's networks with branches, walked back whole, against autograd with rectifiers that rectify the gradient."""

from functools import cache

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tools.rectified import other_derivatives
from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.feature_maps import convolution_layers, feature_maps, trace_up_to
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.receptive_field import receptive_field
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet
from viz_callbacks.methods.gradient import gradient
from viz_callbacks.methods.unit_projection import Units, project_units

# A layer in the middle of each, and the module that gives its feature maps.
NETWORKS = {
    "squeezenet1_1": ("features.7.expand3x3", "features.7.expand3x3_activation"),
    "resnet18": ("layer3.0.conv2", "layer3.0.conv2"),
    "googlenet": ("inception4a.branch2.1.conv", "inception4a.branch2.1"),
    "mobilenet_v2": ("features.7.conv.0.0", "features.7.conv.0"),
    "densenet121": ("features.denseblock2.denselayer3.conv1", "features.denseblock2.denselayer3.relu2"),
}


@cache
def untrained(name: str) -> tuple[nn.Module, Tensor]:
    """The network in double precision, its norms with statistics and scales that differ from map to map, and an image."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    network: nn.Module = getattr(torchvision.models, name)(weights=None, **options).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network, torch.randn(1, 3, 64, 64, dtype=torch.float64)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-12 of the picture's range."""
    assert expected.abs().max() > 0
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_is_a_layer_of_its_own_name(name: str) -> None:
    network, _ = untrained(name)
    own = {path for path, module in network.named_modules() if isinstance(module, nn.Conv2d) and not path.startswith("aux")}
    assert set(convolution_layers(network)) == own


@pytest.mark.parametrize("name", NETWORKS)
def test_denet_equals_autograd(name: str) -> None:
    network, image = untrained(name)
    found = denet(record(network, image), torch.tensor([7]))
    pixels = image.clone().requires_grad_()
    with other_derivatives():
        logits = network.eval()(pixels)
    start = torch.zeros_like(logits)
    start[0, 7] = 1
    assert_equal(found, torch.autograd.grad(logits, pixels, start)[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_deconvolution_equals_autograd(name: str) -> None:
    network, image = untrained(name)
    layer, maps_of = NETWORKS[name]
    traces = record(network, image)
    seen: list[Tensor] = []
    pixels = image.clone().requires_grad_()
    handle = network.get_submodule(maps_of).register_forward_hook(lambda module, inputs, output: seen.append(output * 1))
    with other_derivatives():
        network.eval()(pixels)
    handle.remove()
    (maps,) = seen
    assert torch.equal(feature_maps(traces, layer), maps)
    assert_equal(deconvolution(traces, layer), torch.autograd.grad(maps, pixels, maps.detach())[0])


def test_the_plain_gradient_is_autograds() -> None:
    network, image = untrained("googlenet")
    pixels = image.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network.eval()(pixels)[0, 3], pixels)
    assert_equal(gradient(network.train(), image, torch.tensor([3])), expected)


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer2.0.conv1"), ("squeezenet1_1", "features.3.expand1x1")])
def test_single_units_are_projected_inside_their_receptive_fields(name: str, layer: str) -> None:
    network, image = untrained(name)
    traces = record(network, image)
    below = trace_up_to(traces, layer)
    field, maps = receptive_field(below), feature_maps(traces, layer)
    active = maps.nonzero()
    chosen = active[:: len(active) // 5]
    units = Units(*chosen.T)
    for (_, k, row, column), picture in zip(chosen.tolist(), project_units(below, units, memory_limit=1 << 24), strict=True):
        start = torch.zeros_like(maps)
        start[0, k, row, column] = maps[0, k, row, column]
        whole = backproject(below, start)[0]
        assert_equal(picture, field.crop(whole, row, column))
        of_image, _ = field.inside(row, column, 64, 64)
        whole[:, *of_image] = 0
        assert not whole.any(), "outside of the field it is 0"
