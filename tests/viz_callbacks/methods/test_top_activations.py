"""The pictures of the nine strongest activations of a map, against projections of whole images."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.networks.layers import pool_before_relu
from tests.small_network import small_network
from viz_callbacks.engine.feature_maps import feature_maps, trace_up_to
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.graph import trace_network
from viz_callbacks.engine.needed_values import maps_layer
from viz_callbacks.engine.receptive_field import receptive_field
from viz_callbacks.methods.crops import Crop
from viz_callbacks.methods.deconvolution import deconvolution, strongest_activation
from viz_callbacks.methods.top_activations import MapTopActivations, keep_strongest, project_top_activations
from viz_callbacks.methods.unit_projection import Units, project_units
from viz_callbacks.metrics.top_activations import TopActivationHooks

LAYERS = ["conv1", "conv2"]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(30, 3, 67, 67, generator=torch.Generator().manual_seed(0))


def watched(network: nn.Sequential, images: Tensor, batch: int = 7) -> TopActivationHooks:
    """All images but the last batch's, which isn't watched, in the order of training's forward pass."""
    numbers = torch.arange(len(images)) + 100
    with TopActivationHooks(network, LAYERS, keep=4) as hooks, torch.no_grad():
        for start in range(0, len(images), batch):
            last = start + batch >= len(images)
            hooks.set_batch_indices(None if last else numbers[start : start + batch])
            pool_before_relu(network.eval())(images[start : start + batch])
    return hooks


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("batch", [1, 32])
def test_pictures_are_those_of_the_strongest_activations_one_by_one(layer: str, batch: int, images: Tensor) -> None:
    network = small_network()
    found = watched(network, images).metrics[layer].compute()

    def load(numbers: Sequence[int]) -> Tensor:
        return images[[number - 100 for number in numbers]]

    made = list(project_top_activations(network, layer, [3, 1], found, load, batch_size=batch))
    assert [each.map_index for each in made] == [3, 1]
    for each in made:
        assert each.values == sorted(each.values, reverse=True)
        for place, number in enumerate(each.images):
            assert_shows(network, layer, images[number - 100], each, place)


def assert_shows(network: nn.Sequential, layer: str, image: Tensor, found: MapTopActivations, place: int) -> None:
    """The patch is cut from the image where the projection, pasted back, is the whole projection."""
    traces = record(network, image[None])
    whole = deconvolution(traces, layer, partial(strongest_activation, k=found.map_index))[0]
    maps = feature_maps(traces, layer)[0, found.map_index]
    row, column = divmod(int(maps.argmax()), maps.shape[1])
    top, left, bottom, right = receptive_field(trace_up_to(traces, layer)).box(row, column)
    for r in range(max(0, top), min(67, bottom), 5):
        for c in range(max(0, left), min(67, right), 5):
            assert torch.equal(found.patches[place, :, r - top, c - left], image[:, r, c])
            torch.testing.assert_close(found.projections[place, :, r - top, c - left], whole[:, r, c], atol=1e-6, rtol=1e-5)


def test_a_map_with_fewer_images_shows_what_there_is() -> None:
    network, images = small_network(), torch.randn(2, 3, 67, 67)
    with TopActivationHooks(network, ["conv2"], keep=9) as hooks, torch.no_grad():
        hooks.set_batch_indices(torch.tensor([0, 1]))
        network.eval()(images)
    (found,) = project_top_activations(
        network, "conv2", [0], hooks.metrics["conv2"].compute(), lambda numbers: images[list(numbers)]
    )
    assert len(found.patches) == len(found.values) == 2


def test_the_layers_to_a_layers_maps_are_recorded_as_in_the_whole_network(images: Tensor) -> None:
    relu = nn.ReLU(inplace=True)
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), relu, nn.Conv2d(4, 5, 3), relu, nn.Conv2d(5, 6, 3))
    network = nn.Sequential(OrderedDict(features=features, pool=nn.MaxPool2d(2), flatten=nn.Flatten()))
    for layer, last in [("features.0", "features.2"), ("features.3", "features.4"), ("features.5", "features.5")]:
        assert maps_layer(trace_network(network).nodes, layer) == last
        found, expected = record(network, images[:2], until=last), trace_up_to(record(network, images[:2]), layer)
        assert [trace.name for trace in found] == [trace.name for trace in expected]
        assert torch.equal(found[-1].output, expected[-1].output)


@pytest.mark.parametrize("side", range(40, 48))
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_units_come_out_in_crops_as_in_the_whole_image(side: int, ceil_mode: bool) -> None:
    torch.manual_seed(side)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5),
        nn.MaxPool2d(3, 2, padding=1, ceil_mode=ceil_mode),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.ReLU(),
    )
    images = torch.randn(2, 3, side, side + 7)
    traces = record(network, images)
    field = receptive_field(traces)
    _, maps, height, width = traces[-1].output.shape
    units = Units(*(each.flatten() for each in torch.meshgrid(*map(torch.arange, (2, maps, height, width)), indexing="ij")))
    crop = Crop.around(field, images.shape[2:])
    assert crop.size < (side, side + 7)
    parts, own = crop.cut(images, units)
    assert parts.shape == (len(units), 3, *crop.size)
    in_parts = record(network, parts)
    torch.testing.assert_close(
        in_parts[-1].output[own.images, own.maps, own.rows, own.columns],
        traces[-1].output[units.images, units.maps, units.rows, units.columns],
    )
    torch.testing.assert_close(project_units(in_parts, own), project_units(traces, units))


@pytest.mark.parametrize(("maps", "size"), [([0], (43, 43)), (range(12), (67, 67))])
def test_a_forward_pass_sees_crops_where_they_are_less_than_whole_images(
    maps: Sequence[int], size: tuple[int, int], images: Tensor
) -> None:
    network, seen = small_network(), []
    network.get_submodule("conv1").register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2:]))
    found = {"values": torch.ones(12, 4), **dict.fromkeys(("images", "rows", "columns"), torch.zeros(12, 4, dtype=torch.int64))}
    made = list(
        project_top_activations(network, "conv2", maps, keep_strongest(found, 1), lambda numbers: images[list(numbers)])
    )
    assert len(made) == len(maps)
    assert seen == [(67, 67), size]  # the first image says how large fields are
