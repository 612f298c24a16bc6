from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from captum.attr import NeuronDeconvolution
from torch import Tensor, nn

from tests.viz_callbacks.engine.networks import every_layer
from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.feature_maps import convolution_layers, feature_maps, trace_up_to
from viz_callbacks.engine.forward import named_layers, record
from viz_callbacks.methods.deconvolution import deconvolution, one_map, strongest_activation, whole_layer
from viz_callbacks.methods.unit_projection import project_units, strongest_units


def alexnet_like() -> nn.Sequential:
    """AlexNet's shape in small, without norms: overlapping pools, a coarse first stride, padding, a row under no window."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 11, 4), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 12, 5, padding=2, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(12, 10, 3, padding=1), nn.ReLU(),
        nn.Conv2d(10, 10, 3, padding=1), nn.ReLU(),
        nn.Conv2d(10, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Linear(6 * 6 * 5, 4),
    )  # fmt: skip


CONVOLUTIONS = ["0", "3", "6", "8", "10"]


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return alexnet_like().eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 227, 221, generator=torch.Generator().manual_seed(1))


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the picture's range."""
    assert expected.abs().max() > 0
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not", "ignore:Setting backward hooks")
@pytest.mark.parametrize("layer", CONVOLUTIONS)
def test_a_single_activation_equals_captum(network: nn.Sequential, images: Tensor, layer: str) -> None:
    captum = NeuronDeconvolution(network, network[int(layer) + 1])
    for image in images:
        traces = record(network, image[None])
        maps = feature_maps(traces, layer)
        k = int(maps[0].amax((1, 2)).argmax())
        value, place = maps[0, k].flatten().max(0)
        neuron = (k, int(place) // maps.shape[3], int(place) % maps.shape[3])
        expected = captum.attribute(image[None], neuron) * value  # Captum starts from 1
        assert_near(deconvolution(traces, layer, partial(strongest_activation, k=k)), expected.detach())


class RectifiedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.clamp(min=0)


def by_autograd(network: nn.Sequential, images: Tensor, layer: int, start: Tensor) -> Tensor:
    """Deconvolution as a gradient, with rectifiers that rectify it."""
    x = images.clone().requires_grad_()
    maps = x
    for module in network[: layer + 2]:
        maps = RectifiedGradient.apply(maps) if isinstance(module, nn.ReLU) else module(maps)
    return torch.autograd.grad(maps, x, start)[0]


@pytest.mark.parametrize("layer", CONVOLUTIONS)
@pytest.mark.parametrize("select", [whole_layer, partial(one_map, k=3), partial(strongest_activation, k=2)])
def test_every_start_equals_autograd_with_other_rectifiers(
    network: nn.Sequential, images: Tensor, layer: str, select: Callable[[Tensor], Tensor]
) -> None:
    traces = record(network, images)
    projection = deconvolution(traces, layer, select)
    assert projection.shape == images.shape
    torch.testing.assert_close(
        projection, by_autograd(network, images, int(layer), select(feature_maps(traces, layer))), rtol=1e-5, atol=1e-7
    )


def receptive_field(network: nn.Sequential, layer: int, place: int) -> tuple[int, int]:
    """First and last row (or column) of the pixels that a place in a layer's maps can see; may lie outside of the image."""
    first = last = place
    for module in reversed(network[: layer + 1]):
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, padding = (
                value[0] if isinstance(value, tuple) else int(value)
                for value in (module.kernel_size, module.stride, module.padding)
            )
            first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


@pytest.mark.parametrize("layer", CONVOLUTIONS)
def test_an_activation_projects_into_its_receptive_field_alone(network: nn.Sequential, images: Tensor, layer: str) -> None:
    traces = record(network, images)
    maps = feature_maps(traces, layer)
    checked = 0
    for row, column in [(0, 0), (maps.shape[2] // 2, maps.shape[3] // 3), (maps.shape[2] - 1, maps.shape[3] - 1)]:
        start = torch.zeros_like(maps)
        start[:, :, row, column] = 1.0
        projection = backproject(trace_up_to(traces, layer), start)
        (top, bottom), (left, right) = (receptive_field(network, int(layer), place) for place in (row, column))
        inside = torch.zeros_like(projection)
        inside[:, :, max(top, 0) : bottom + 1, max(left, 0) : right + 1] = 1
        assert torch.equal(projection * inside, projection)
        assert projection.abs().amax((1, 2, 3)).min() > 0
        checked += int((1 - inside).sum() > 0)
    assert checked == 3, "the fields must be smaller than the image to say anything"


@pytest.mark.parametrize("layer", CONVOLUTIONS)
def test_the_projection_is_homogeneous_in_its_start(network: nn.Sequential, images: Tensor, layer: str) -> None:
    traces = record(network, images)
    assert_near(deconvolution(traces, layer, lambda maps: 7 * maps), 7 * deconvolution(traces, layer))


def test_biases_take_no_part_on_the_way_back(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    before = deconvolution(traces, "10")
    with torch.no_grad():
        for module in network:
            if isinstance(module, nn.Conv2d):
                assert module.bias is not None
                module.bias += 10
    assert torch.equal(deconvolution(traces, "10"), before)


def test_response_norms_have_no_part_on_the_way_back(network: nn.Sequential, images: Tensor) -> None:
    layers = [layer for _, layer in named_layers(network)]
    halving = nn.LocalResponseNorm(5, alpha=0.0, beta=0.25, k=16.0)
    with_norm = nn.Sequential(*layers[:2], halving, *layers[2:])
    traces = record(with_norm, images, keep=every_layer(with_norm))
    torch.testing.assert_close(traces[2].output, traces[2].input / 2)
    without_norm = [*traces[:2], replace(traces[3], sources=(traces[1].name,)), *traces[4:6]]
    assert torch.equal(deconvolution(traces, "4"), backproject(without_norm, feature_maps(traces, "4")))


# --- Which maps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("between", "after_activation"),
    [
        ([nn.ReLU(inplace=True)], True),
        ([nn.Tanh()], True),
        ([nn.BatchNorm2d(4), nn.LeakyReLU()], True),
        ([nn.LocalResponseNorm(3), nn.Dropout2d(), nn.Identity(), nn.Sigmoid()], True),
        ([nn.MaxPool2d(2), nn.ReLU()], False),
        ([nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.ReLU()], False),
        ([nn.Conv2d(4, 4, 1), nn.ReLU()], False),
        ([], False),
        ([nn.BatchNorm2d(4)], False),
        ([nn.GroupNorm(2, 4), nn.SiLU()], True),
        ([nn.ReLU6()], True),
    ],
)
def test_feature_maps_are_those_after_the_activation(between: list[nn.Module], after_activation: bool) -> None:
    conv, images = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    traces = record(nn.Sequential(conv, nn.Sequential(*between)), images)
    expected = traces[-1].output if after_activation else conv(images)
    assert torch.equal(feature_maps(traces, "0"), expected)
    assert deconvolution(traces, "0").shape == images.shape


def test_a_pool_before_the_activation_works_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5, 2), nn.MaxPool2d(3, 2), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.MaxPool2d(2), nn.ReLU()
    ).eval()
    images = torch.randn(2, 3, 33, 33)
    traces = record(network, images)
    x = images.clone().requires_grad_()
    maps = network[3](RectifiedGradient.apply(network[1](network[0](x))))
    assert_near(deconvolution(traces, "3"), torch.autograd.grad(maps, x, maps.detach())[0])
    assert_near(deconvolution(traces, "0"), torch.autograd.grad(network[0](x), x, feature_maps(traces, "0"))[0])


def test_convolution_layers_by_name() -> None:
    part = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    network = nn.Sequential(part, nn.MaxPool2d(2), part, nn.Flatten(), nn.Linear(3, 2))
    assert convolution_layers(network) == ["0.0", "2.0"]


def test_a_name_that_is_no_convolution_layer_is_refused() -> None:
    traces = record(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1)), torch.randn(1, 3, 4, 4))
    for name in ("conv9", "1"):
        with pytest.raises(ValueError, match=rf"no convolution layer '{name}'; the network has 0, 2"):
            deconvolution(traces, name)


# --- Starts -------------------------------------------------------------------------------------------------------------------


def test_starts_keep_what_they_say_and_nothing_else() -> None:
    maps = torch.rand(3, 4, 5, 6) + 1
    assert torch.equal(whole_layer(maps), maps)
    alone = one_map(maps, 2)
    assert torch.equal(alone[:, 2], maps[:, 2])
    assert alone.count_nonzero() == 3 * 5 * 6
    strongest = strongest_activation(maps, 2)
    assert strongest.count_nonzero() == 3
    assert torch.equal(strongest.amax((1, 2, 3)), maps[:, 2].amax((1, 2)))
    assert torch.equal(strongest.count_nonzero((1, 2, 3)), torch.ones(3, dtype=torch.int64))
    assert torch.equal(strongest * maps, strongest * strongest), "each stays in its own place"


def test_of_equally_strong_activations_the_first_in_row_major_order_is_taken() -> None:
    maps = torch.zeros(1, 2, 4, 4).contiguous(memory_format=torch.channels_last)
    for row, column in [(3, 0), (1, 3), (2, 1)]:
        maps[0, 1, row, column] = 5.0
    assert strongest_activation(maps, 1).nonzero().tolist() == [[0, 1, 1, 3]]


def test_the_strongest_of_negative_activations_is_still_the_largest() -> None:
    maps = torch.full((1, 1, 2, 2), -3.0)
    maps[0, 0, 1, 0] = -1.0
    assert strongest_activation(maps, 0).flatten().tolist() == [0.0, 0.0, -1.0, 0.0]


@pytest.mark.parametrize("start", [one_map, strongest_activation])
def test_a_map_that_does_not_exist_is_refused(start: Callable[[Tensor, int], Tensor]) -> None:
    with pytest.raises(IndexError, match="9"):
        start(torch.rand(1, 4, 2, 2), 9)


def test_starts_and_projections_work_in_inference_mode(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    starts: list[Callable[[Tensor], Tensor]] = [whole_layer, partial(one_map, k=1), partial(strongest_activation, k=1)]
    expected = [deconvolution(traces, "6", select) for select in starts]
    with torch.inference_mode():
        traces = record(network, images)
        assert all(torch.equal(deconvolution(traces, "6", s), e) for s, e in zip(starts, expected, strict=True))


@pytest.mark.parametrize("layer", ["0", "6"])
def test_bfloat16_shows_the_same_picture(network: nn.Sequential, images: Tensor, layer: str) -> None:
    expected = deconvolution(record(network, images), layer)
    traces = record(network.to(torch.bfloat16), images.to(torch.bfloat16))
    found = deconvolution(traces, layer)
    assert found.dtype == torch.bfloat16
    assert float(torch.cosine_similarity(found.float().flatten(1), expected.flatten(1)).min()) > 0.98
    units = strongest_units(feature_maps(traces, layer))
    assert project_units(trace_up_to(traces, layer), units).dtype == torch.bfloat16


def test_a_batch_is_its_images_one_by_one(network: nn.Sequential, images: Tensor) -> None:
    together = deconvolution(record(network, images), "6")
    for number, image in enumerate(images):
        assert_near(deconvolution(record(network, image[None]), "6")[0], together[number])
