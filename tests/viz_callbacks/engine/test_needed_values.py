"""What a recorded pass keeps: all that the way back needs, and nothing else for longer than the pass needs it."""

import weakref
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.viz_callbacks.engine.networks import every_kind_of_state, every_layer
from viz_callbacks.engine.backward import BACKWARD_RULES, Back, backproject
from viz_callbacks.engine.feature_maps import convolution_layers, feature_maps
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet


def stored(network: nn.Module, images: Tensor) -> tuple[dict[str, bool], int]:
    """Whether each layer's output has its numbers, and the bytes of all numbers that the traces have."""
    traces = record(network, images)
    tensors = [each for trace in traces for each in (*trace.inputs, trace.output, trace.switches) if each is not None]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors if not each.is_meta}
    return {trace.name: not trace.output.is_meta for trace in traces}, sum(storages.values())


def test_feature_maps_and_the_last_output_are_kept_and_nothing_before_an_activation() -> None:
    layers, _ = stored(every_kind_of_state(), torch.randn(2, 3, 23, 23))
    assert [name for name, kept in layers.items() if kept] == ["0.2", "0.6", "1.4"]


def test_images_and_outputs_that_are_asked_for_are_kept() -> None:
    network, images = every_kind_of_state(), torch.randn(2, 3, 23, 23)
    traces = {trace.name: trace for trace in record(network, images, keep=["0.0", "0.3"])}
    assert traces["0.0"].input is images
    with torch.no_grad():
        assert torch.equal(traces["0.0"].output, network.get_submodule("0.0")(images))
    assert traces["0.1"].input is traces["0.0"].output
    assert traces["0.4"].input is traces["0.3"].output
    assert not traces["0.3"].output.is_meta
    with pytest.raises(ValueError, match=r"^There is no layer 'conv9'; the network has 0\.0, 0\.1"):
        record(network, images, keep=["0.0", "conv9"])


def test_every_output_kept_or_not_has_its_shape_and_type() -> None:
    network, images = every_kind_of_state().double(), torch.randn(2, 3, 23, 23, dtype=torch.float64)
    for some, all_of_it in zip(record(network, images), record(network, images, keep=every_layer(network)), strict=True):
        assert not all_of_it.output.is_meta
        assert (some.output.shape, some.output.dtype) == (all_of_it.output.shape, all_of_it.output.dtype)


def test_what_is_not_needed_is_let_go_while_the_network_runs() -> None:
    """Else a pass would need the memory all the same."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    outputs: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    for layer in network[:-1]:
        layer.register_forward_hook(lambda layer, inputs, output: outputs.append(weakref.ref(output)))
    network[-1].register_forward_hook(lambda layer, inputs, output: alive.extend(each() is not None for each in outputs))
    traces = record(network, torch.randn(1, 3, 12, 12))
    assert alive[0] is False  # of the first convolution
    assert alive[1] is True  # its feature maps
    assert traces[1].output is outputs[1]()


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "densenet121", "mobilenet_v3_small", "googlenet", "swin_t"])
def test_pictures_are_those_of_a_pass_that_keeps_all(name: str) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    network = getattr(torchvision.models, name)(weights=None, **options).eval()
    images, classes = torch.randn(2, 3, 64, 64), torch.tensor([7, 1])
    some, all_of_it = record(network, images), record(network, images, keep=every_layer(network))
    assert any(trace.output.is_meta for trace in some)
    layers = convolution_layers(network)
    for layer in (layers[0], layers[len(layers) // 2], layers[-1]):
        assert torch.equal(feature_maps(some, layer), feature_maps(all_of_it, layer))
        assert torch.equal(deconvolution(some, layer), deconvolution(all_of_it, layer))
    if name != "swin_t":  # attention has no way back
        assert torch.equal(denet(some, classes), denet(all_of_it, classes))


def test_of_a_residual_network_less_than_half_is_kept() -> None:
    network, images = torchvision.models.resnet18(weights=None).eval(), torch.randn(1, 3, 64, 64)
    _, kept = stored(network, images)
    traces = record(network, images, keep=every_layer(network))
    assert kept < sum(trace.output.nbytes for trace in traces) / 2


def rectify_by_input(trace: LayerTrace, value: Tensor) -> Back:
    return value * (trace.input > 0)


def of_its_input(trace: LayerTrace, value: Tensor) -> Back:
    return trace.input


def test_a_function_for_a_rule_finds_all_numbers_of_its_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKWARD_RULES, nn.ReLU, rectify_by_input)
    network, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval(), torch.randn(1, 3, 6, 6)
    given = images.clone().requires_grad_()
    network(given).sum().backward()
    traces = record(network, images)
    torch.testing.assert_close(backproject(traces, torch.ones_like(traces[-1].output)), given.grad)


@pytest.mark.parametrize("rule", [rectify_by_input, of_its_input])
def test_a_rule_of_the_moment_that_misses_numbers_says_how_to_keep_them(rule: Callable[[LayerTrace, Tensor], Back]) -> None:
    network, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(1, 3, 6, 6)
    rules = BACKWARD_RULES | {nn.ReLU: rule}
    traces = record(network, images)
    with pytest.raises(ValueError, match=r"The rule for '1' .* let go: record\(network, images, keep=\['0'\]\)\."):
        backproject(traces, traces[-1].output, rules)
    traces = record(network, images, keep=["0"])
    assert backproject(traces, traces[-1].output, rules).shape == images.shape


def test_another_error_of_a_rule_is_its_own() -> None:
    def fails(trace: LayerTrace, value: Tensor) -> Back:
        raise RuntimeError("of its own")

    network, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(1, 3, 6, 6)
    traces = record(network, images)
    with pytest.raises(RuntimeError, match="of its own"):
        backproject(traces, traces[-1].output, BACKWARD_RULES | {nn.ReLU: fails})


def test_a_gate_is_kept() -> None:
    squeezed = nn.Sequential(torchvision.ops.SqueezeExcitation(3, 2))
    layers, _ = stored(squeezed, torch.randn(1, 3, 6, 6))
    assert [name for name, kept in layers.items() if kept][-2:] == ["0.scale_activation", "mul"]
