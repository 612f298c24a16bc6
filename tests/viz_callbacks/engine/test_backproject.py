"""The walk back through a whole network, by whichever rules, and what can't be walked."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.viz_callbacks.engine.networks import OwnOrder, Residual, Squaring, every_kind_of_state, every_layer
from viz_callbacks.engine.backward import BACKWARD_RULES, BackwardFunction, UnknownLayerError, backproject, rectify, rule_for
from viz_callbacks.engine.forward import named_layers, record
from viz_callbacks.engine.layer_trace import LayerTrace, slice_traces


@pytest.fixture
def network() -> nn.Sequential:
    return every_kind_of_state()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 23, 23, generator=torch.Generator().manual_seed(1))


def test_autocast_around_it_changes_nothing(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    expected = backproject(traces, traces[-1].output)
    with torch.autocast("cpu", torch.bfloat16):
        traces = record(network, images)
        assert torch.equal(backproject(traces, traces[-1].output), expected)


def test_it_runs_in_inference_mode(network: nn.Sequential, images: Tensor) -> None:
    def down_and_back() -> Tensor:
        traces = record(network, images)
        return backproject(traces, traces[-1].output)

    with torch.inference_mode():
        inferred = down_and_back()
    assert torch.equal(inferred, down_and_back())


def test_images_do_not_depend_on_their_batch(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    together = backproject(traces, traces[-1].output)
    for image, projection in zip(images, together, strict=True):
        alone = record(network, image[None])
        torch.testing.assert_close(backproject(alone, alone[-1].output)[0], projection, rtol=1e-4, atol=1e-5)


def test_traces_of_some_images_are_those_of_their_own_forward_pass(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    some = slice_traces(traces, slice(1, 3))
    for trace, whole, alone in zip(some, traces, record(network, images[1:3]), strict=True):
        assert (trace.name, trace.layer) == (whole.name, whole.layer)
        assert trace.output.data_ptr() == whole.output[1:].data_ptr(), "views, no copies"
        torch.testing.assert_close(trace.input, alone.input, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(trace.output, alone.output, rtol=1e-4, atol=1e-5)
        assert (trace.switches is None) == (alone.switches is None)
        if trace.switches is not None and alone.switches is not None:
            assert torch.equal(trace.switches, alone.switches)
    together = backproject(traces, traces[-1].output)[1:3]
    torch.testing.assert_close(backproject(some, some[-1].output), together, rtol=1e-4, atol=1e-5)


def test_channels_last_changes_nothing(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    expected = backproject(traces, traces[-1].output)
    network = network.to(memory_format=torch.channels_last)
    traces = record(network, images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(backproject(traces, traces[-1].output), expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_near(network: nn.Sequential, images: Tensor) -> None:
    layers = [layer for _, layer in named_layers(network)]
    layers[4] = nn.Identity()  # torch has no local response norm in bfloat16 on the CPU
    network = nn.Sequential(*layers)
    traces = record(network, images)
    expected = backproject(traces[:7], traces[6].output)
    traces = record(network.bfloat16(), images.bfloat16())
    projection = backproject(traces[:7], traces[6].output)
    assert projection.dtype == torch.bfloat16
    assert F.cosine_similarity(projection.float().flatten(), expected.flatten(), dim=0) > 0.99


def test_with_masks_in_place_of_rectification_the_walk_is_the_gradient(network: nn.Sequential, images: Tensor) -> None:
    """A method is a choice of rules: these are backpropagation's, so autograd is the oracle for the whole walk."""

    def mask(trace: LayerTrace, value: Tensor) -> Tensor:
        return value * (trace.input > 0)

    def transposed(trace: LayerTrace, value: Tensor) -> Tensor:
        assert isinstance(trace.layer, nn.Linear)
        return value @ trace.layer.weight

    network = nn.Sequential(*(layer for _, layer in named_layers(network) if not isinstance(layer, nn.LocalResponseNorm)))
    own: dict[type[nn.Module], BackwardFunction] = {nn.ReLU: mask, nn.Linear: transposed}
    traces = record(network, images, keep=every_layer(network))
    value = torch.randn_like(traces[-1].output)
    pixels = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network.eval()(pixels), pixels, value)
    torch.testing.assert_close(backproject(traces, value, BACKWARD_RULES | own), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool_first", [True, False])
def test_unpool_rectify_and_filter_come_in_the_order_of_the_layers(pool_first: bool) -> None:
    conv, relu, pool = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(3, 2)
    traces = record(nn.Sequential(conv, pool, relu) if pool_first else nn.Sequential(conv, relu, pool), torch.randn(2, 2, 9, 9))
    value = torch.randn_like(traces[-1].output)
    switches = next(trace.switches for trace in traces if trace.switches is not None)
    v = value.clamp(min=0) if pool_first else value
    v = torch.zeros(2, 3, 49).scatter_add(2, switches.flatten(2), v.flatten(2)).view(2, 3, 7, 7)
    v = v if pool_first else v.clamp(min=0)
    torch.testing.assert_close(backproject(traces, value), F.conv_transpose2d(v, conv.weight.detach()))


def test_a_layer_used_twice_is_walked_twice() -> None:
    conv, relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
    network = nn.Sequential(nn.Sequential(conv, relu, conv), nn.Sequential(nn.Sequential(relu)))
    traces = record(network, torch.randn(1, 3, 6, 6))
    by_hand = traces[3].output
    for _ in range(2):
        by_hand = F.conv_transpose2d(by_hand.clamp(min=0), conv.weight.detach(), padding=1)
    torch.testing.assert_close(backproject(traces, traces[-1].output), by_hand)


# --- Rules of one's own, and errors -------------------------------------------------------------------------------------------


def test_an_unknown_layer_is_named_with_the_remedy() -> None:
    traces = record(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh(), Squaring())), torch.randn(1, 1, 4, 4))
    with pytest.raises(UnknownLayerError, match=r"'1.1', a Squaring.*BACKWARD_RULES\[Squaring\] = function\(trace, value\)"):
        backproject(traces, traces[-1].output)
    with pytest.raises(UnknownLayerError):
        rule_for(traces[-1])


@pytest.mark.parametrize("layer", [Residual(), OwnOrder(nn.Identity(), nn.Dropout())])
def test_a_shortcut_goes_back_both_ways(layer: nn.Module) -> None:
    traces = record(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh(), layer)), torch.randn(1, 1, 4, 4))
    value = torch.rand(1, 1, 4, 4)
    assert torch.equal(backproject(traces, value), 2 ** sum("add" in trace.name for trace in traces) * value)


def test_one_more_entry_teaches_one_more_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = record(nn.Sequential(nn.Identity(), Squaring()), torch.randn(1, 1, 4, 4))
    monkeypatch.setitem(BACKWARD_RULES, Squaring, lambda trace, value: 2 * value)
    with pytest.raises(UnknownLayerError):
        backproject(traces, torch.ones(1, 1, 4, 4))
    traces = record(nn.Sequential(nn.Identity(), Squaring()), torch.randn(1, 1, 4, 4))
    assert torch.equal(backproject(traces, torch.ones(1, 1, 4, 4)), torch.full((1, 1, 4, 4), 2.0))


def test_the_nearest_type_decides() -> None:
    class FasterLocalResponseNorm(nn.LocalResponseNorm):
        pass

    (trace,) = record(nn.Sequential(FasterLocalResponseNorm(3)), torch.randn(1, 3, 2, 2))
    own: dict[type[nn.Module], BackwardFunction] = {FasterLocalResponseNorm: rectify}
    assert rule_for(trace, BACKWARD_RULES | own) is rectify
    assert rule_for(trace) is BACKWARD_RULES[nn.LocalResponseNorm]


def test_a_value_of_another_shape_is_refused() -> None:
    traces = record(nn.Sequential(nn.Conv2d(1, 2, 3)), torch.randn(1, 1, 6, 6))
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\), but the output of '0' is \(1, 2, 4, 4\)"):
        backproject(traces, torch.randn(1, 2, 3, 4))
