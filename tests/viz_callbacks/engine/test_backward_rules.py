"""Each backward rule against its plain twin, its adjoint and autograd, on random input with overlap, stride and padding."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.viz_callbacks.engine import plain
from viz_callbacks.engine.backward import BACKWARD_RULES, backproject
from viz_callbacks.engine.convolution import is_subpixel_faster, padding_of, subpixel_transposed_convolution
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.function_layers import Function
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.needed_values import without_values
from viz_callbacks.engine.registry import what_is_known

many = settings(max_examples=60, deadline=None)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def back_through(layer: nn.Module, x: Tensor, value: Tensor | None = None) -> tuple[LayerTrace, Tensor, Tensor]:
    """The layer's trace, a value at its output, and what the rule makes of it."""
    (trace,) = record(nn.Sequential(layer), x)
    value = torch.randn_like(trace.output) if value is None else value
    back = backproject([trace], value)
    assert back.shape == x.shape
    assert back.dtype == x.dtype
    return trace, value, back


def assert_plain(trace: LayerTrace, value: Tensor, back: Tensor) -> None:
    """What came back is what the plain rule of the layer's type makes of the value."""
    kind = next(kind for kind in type(trace.layer).__mro__ if kind in plain.RULES)
    expected = plain.RULES[kind](trace.layer, trace.input.numpy(), trace.output.numpy(), value.numpy())
    torch.testing.assert_close(back, torch.from_numpy(expected))


def assert_adjoint(back: Tensor, x: Tensor, value: Tensor, image: Tensor) -> None:
    """<A^T v, x> = <v, A x>."""
    torch.testing.assert_close((back * x).sum(), (value * image).sum(), rtol=1e-9, atol=1e-9)


def gradient(layer: nn.Module, x: Tensor, value: Tensor) -> Tensor:
    """What autograd makes of the value: an oracle for every layer whose rule is its derivative."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(layer(x), x, value)[0]


# --- All of them --------------------------------------------------------------------------------------------------------------


def uneven(layer: nn.Module) -> nn.Module:
    """With weights, biases and statistics that differ from map to map."""
    for name, tensor in layer.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2) if name == "running_var" else nn.init.normal_(tensor)
    return layer


LAYERS: dict[type[nn.Module], list[Callable[[], nn.Module]]] = {
    nn.Conv2d: [
        lambda: nn.Conv2d(4, 6, 3, padding=1),
        lambda: nn.Conv2d(4, 6, 3, 2),  # one row is under no window
        lambda: nn.Conv2d(4, 6, 5, 2, 2, groups=2),
        lambda: nn.Conv2d(4, 6, 2, 3, 1, bias=False),  # rows between windows
        lambda: nn.Conv2d(4, 6, (2, 3), (3, 2), (1, 0), (2, 1)),
        lambda: nn.Conv2d(4, 6, 4, padding="same"),
    ],
    nn.MaxPool2d: [
        lambda: nn.MaxPool2d(3, 2),
        lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        lambda: nn.MaxPool2d((3, 2), (1, 2), (0, 1), 2),
    ],
    nn.AdaptiveMaxPool2d: [lambda: nn.AdaptiveMaxPool2d(3), lambda: nn.AdaptiveMaxPool2d((4, 7))],
    nn.AvgPool2d: [
        lambda: nn.AvgPool2d(3, 2),
        lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        lambda: nn.AvgPool2d((3, 2), padding=(1, 0)),
        lambda: nn.AvgPool2d(3, 1, divisor_override=5),
    ],
    nn.AdaptiveAvgPool2d: [lambda: nn.AdaptiveAvgPool2d(3), lambda: nn.AdaptiveAvgPool2d((4, 7))],
    nn.LPPool2d: [lambda: nn.LPPool2d(2, 3, 2), lambda: nn.LPPool2d(2, (3, 2), ceil_mode=True)],
    nn.ReLU: [nn.ReLU],
    nn.ReLU6: [nn.ReLU6],
    nn.GELU: [nn.GELU],
    nn.SiLU: [nn.SiLU],
    nn.Mish: [nn.Mish],
    nn.Hardswish: [nn.Hardswish],
    nn.Hardtanh: [nn.Hardtanh, lambda: nn.Hardtanh(0, 2)],
    nn.Threshold: [lambda: nn.Threshold(0.1, 0), lambda: nn.Threshold(-1, 2), lambda: nn.Threshold(1, -1)],
    nn.LeakyReLU: [lambda: nn.LeakyReLU(0.25)],
    nn.PReLU: [lambda: uneven(nn.PReLU(4)), nn.PReLU],
    nn.RReLU: [nn.RReLU],
    nn.GLU: [lambda: nn.GLU(1)],
    **{kind: [kind] for kind in plain.AS_IT_IS if kind is not nn.LocalResponseNorm},
    nn.LocalResponseNorm: [lambda: nn.LocalResponseNorm(3)],
    nn.BatchNorm1d: [lambda: uneven(nn.BatchNorm1d(4 * 8 * 10))],
    nn.BatchNorm2d: [lambda: uneven(nn.BatchNorm2d(4)), lambda: nn.BatchNorm2d(4, affine=False)],
    nn.SyncBatchNorm: [lambda: uneven(nn.SyncBatchNorm(4))],
    nn.GroupNorm: [lambda: uneven(nn.GroupNorm(2, 4))],
    nn.InstanceNorm2d: [
        lambda: nn.InstanceNorm2d(4),
        lambda: uneven(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
    ],
    nn.LayerNorm: [lambda: uneven(nn.LayerNorm((8, 10))), lambda: nn.LayerNorm(10)],
    nn.Softmax: [lambda: nn.Softmax(1)],
    nn.LogSoftmax: [lambda: nn.LogSoftmax(1)],
    nn.Flatten: [nn.Flatten, lambda: nn.Flatten(2)],
    nn.Linear: [lambda: nn.Linear(4 * 8 * 10, 5), lambda: nn.Linear(4 * 8 * 10, 5, bias=False)],
    nn.ConvTranspose2d: [lambda: nn.ConvTranspose2d(4, 6, 3, (2, 1), 1, groups=2, output_padding=(1, 0))],
    nn.Upsample: [lambda: nn.Upsample(scale_factor=2), lambda: nn.Upsample((5, 13), mode="bilinear")],
    nn.UpsamplingNearest2d: [lambda: nn.UpsamplingNearest2d(scale_factor=2)],
    nn.UpsamplingBilinear2d: [lambda: nn.UpsamplingBilinear2d((9, 7))],
    nn.PixelShuffle: [lambda: nn.PixelShuffle(2)],
    nn.PixelUnshuffle: [lambda: nn.PixelUnshuffle(2)],
    nn.ChannelShuffle: [lambda: nn.ChannelShuffle(2)],
    nn.ZeroPad2d: [lambda: nn.ZeroPad2d((1, 2, 0, 3)), lambda: nn.ZeroPad2d(-1)],
    nn.ConstantPad2d: [lambda: nn.ConstantPad2d((1, 0, 2, 0), 3.0)],
    nn.ReflectionPad2d: [lambda: nn.ReflectionPad2d((1, 2, 0, 3))],
    nn.ReplicationPad2d: [lambda: nn.ReplicationPad2d((1, 2, 0, 3))],
    nn.CircularPad2d: [lambda: nn.CircularPad2d((1, 2, 0, 3))],
    nn.Unflatten: [lambda: nn.Unflatten(1, (2, 2))],
    nn.Conv1d: [lambda: nn.Conv1d(4, 6, 5, 3, 2, groups=2)],
    nn.Conv3d: [lambda: nn.Conv3d(2, 3, (1, 2, 3), (1, 2, 2), (1, 0, 1))],
    nn.MaxPool1d: [lambda: nn.MaxPool1d(3, 2, 1), lambda: nn.MaxPool1d(4, 3, ceil_mode=True)],
    nn.MaxPool3d: [lambda: nn.MaxPool3d((1, 3, 3), 2, (0, 1, 1)), lambda: nn.MaxPool3d(2, 1)],
    nn.AdaptiveMaxPool1d: [lambda: nn.AdaptiveMaxPool1d(7)],
    nn.AdaptiveMaxPool3d: [lambda: nn.AdaptiveMaxPool3d((1, 3, 4))],
    nn.AvgPool1d: [lambda: nn.AvgPool1d(3, 2, 1)],
    nn.AvgPool3d: [lambda: nn.AvgPool3d((1, 3, 3), 2)],
    nn.AdaptiveAvgPool1d: [lambda: nn.AdaptiveAvgPool1d(7)],
    nn.AdaptiveAvgPool3d: [lambda: nn.AdaptiveAvgPool3d((1, 3, 4))],
    nn.BatchNorm3d: [lambda: uneven(nn.BatchNorm3d(2))],
    nn.InstanceNorm1d: [lambda: uneven(nn.InstanceNorm1d(4, affine=True))],
    nn.InstanceNorm3d: [lambda: nn.InstanceNorm3d(2)],
}

FLAT = (nn.Linear, nn.BatchNorm1d, nn.Dropout1d, nn.Softmax, nn.LogSoftmax)  # layers that take (N, features)
ROWS = (nn.Conv1d, nn.MaxPool1d, nn.AdaptiveMaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.InstanceNorm1d)  # (N, C, L)
VOLUMES = (  # (N, C, depth, height, width)
    nn.Conv3d, nn.MaxPool3d, nn.AdaptiveMaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.BatchNorm3d, nn.InstanceNorm3d,
)  # fmt: skip


def traced(layer: nn.Module) -> LayerTrace:
    """The trace of a layer that is given (2, 4, 8, 10), in the shape that it takes."""
    before: list[nn.Module] = []
    for kinds, reshape in ((FLAT, nn.Flatten()), (ROWS, nn.Flatten(2)), (VOLUMES, nn.Unflatten(1, (2, 2)))):
        before += [reshape] if isinstance(layer, kinds) else []
    return record(nn.Sequential(*before, layer), normal(2, 4, 8, 10), keep=[str(index) for index in range(len(before))])[-1]


def test_every_rule_has_a_plain_twin_and_layers_to_compare_them_on() -> None:
    assert {kind for kind in BACKWARD_RULES if not issubclass(kind, Function)} == set(plain.RULES) == set(LAYERS)


EACH_LAYER = pytest.mark.parametrize("make", [make for layers in LAYERS.values() for make in layers])


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@EACH_LAYER
def test_every_rule_equals_its_plain_twin(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    trace = traced(make().double())
    value = torch.randn_like(trace.output)
    assert_plain(trace, value, backproject([trace], value))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@EACH_LAYER
def test_a_rule_needs_the_numbers_of_its_layer_where_it_says_so_alone(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    trace = traced(make().double())
    value = torch.randn_like(trace.output)
    shapes = replace(trace, inputs=tuple(map(without_values, trace.inputs)), output=without_values(trace.output))
    if what_is_known(trace.layer).needs_values(trace.layer):
        with pytest.raises(ValueError, match=r"^The rule for '\d' looks at numbers that were let go: record\("):
            backproject([shapes], value)
    else:
        assert torch.equal(backproject([shapes], value), backproject([trace], value))


@pytest.mark.parametrize("kind", LAYERS)
def test_derived_types_inherit_the_rule(kind: type[nn.Module]) -> None:
    layer = LAYERS[kind][0]().double()
    layer.__class__ = type("Derived", (kind,), {})
    trace = traced(layer)
    assert type(trace.layer).__name__ == "Derived"
    value = torch.randn_like(trace.output)
    assert_plain(trace, value, backproject([trace], value))


# --- Convolution --------------------------------------------------------------------------------------------------------------


def size(draw: st.DrawFn, kernel: int, dilation: int = 1, padding: int = 0) -> int:
    """Rows or columns enough for a window at least."""
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    return draw(st.integers(least, least + 8))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor]:
    kernel, stride, dilation = (draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(3))
    padding = draw(st.one_of(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.sampled_from(["valid", "same"])))
    stride = (1, 1) if padding == "same" else draw(st.sampled_from([stride, (stride[0], stride[0])]))
    pads = padding if isinstance(padding, tuple) else (0, 0)
    height, width = (size(draw, kernel[i], dilation[i], pads[i]) for i in range(2))
    groups = draw(st.integers(1, 3))
    into, out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    layer = nn.Conv2d(into, out, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()), dtype=torch.float64)
    return layer, normal(draw(st.integers(1, 2)), into, height, width)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@given(convolutions())
@many
def test_convolution_goes_back_as_defined_and_by_its_exact_adjoint(case: tuple[nn.Conv2d, Tensor]) -> None:
    layer, x = case
    trace, value, back = back_through(layer, x)
    torch.testing.assert_close(trace.output, torch.from_numpy(plain.convolution(layer, x.numpy())))
    without_bias = trace.output - (0 if layer.bias is None else layer.bias.detach()[:, None, None])
    assert_adjoint(back, x, value, without_bias)
    torch.testing.assert_close(back, gradient(layer, x, value))
    assert_plain(trace, value, back)


@pytest.mark.parametrize(("channels", "stride"), [(3, 4), (15, 2), (16, 4), (3, 1)])
def test_the_faster_form_equals_the_plain_one(channels: int, stride: int) -> None:
    layer = nn.Conv2d(channels, 4, 11, stride, dtype=torch.float64)
    assert is_subpixel_faster(layer) == (channels < 16)
    value = normal(2, 4, 5, 6)
    expected = F.conv_transpose2d(value, layer.weight, stride=stride)
    torch.testing.assert_close(subpixel_transposed_convolution(layer, value), expected)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_convolution_with_another_border_goes_back_by_its_adjoint(mode: Literal["reflect", "replicate", "circular"]) -> None:
    layer, x = nn.Conv2d(2, 3, 3, padding=2, padding_mode=mode, dtype=torch.float64), normal(2, 2, 6, 5)
    _, value, back = back_through(layer, x)
    torch.testing.assert_close(back, gradient(layer, x, value))


def test_padding_is_as_torch_pads() -> None:
    assert padding_of(nn.Conv2d(1, 1, 3, padding=(1, 2))) == [(1, 1), (2, 2)]
    assert padding_of(nn.Conv2d(1, 1, 3, padding="valid")) == [(0, 0), (0, 0)]
    assert padding_of(nn.Conv2d(1, 1, (4, 3), padding="same", dilation=(1, 2))) == [(1, 2), (2, 2)]


# --- Max pooling --------------------------------------------------------------------------------------------------------------


@st.composite
def pools(draw: st.DrawFn, padded: bool = True, dilated: bool = False) -> tuple[nn.MaxPool2d, Tensor]:
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = draw(st.integers(0, kernel // 2)) if padded else 0
    dilation = draw(st.integers(1, 2)) if dilated else 1
    layer = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=draw(st.booleans()))
    height, width = (size(draw, kernel, dilation, padding) for _ in range(2))
    x = normal(draw(st.integers(1, 2)), draw(st.integers(1, 2)), height, width)
    for windows, rows in zip(plain.windows_of(layer, x.shape), (height, width), strict=True):
        # A window all in the padding has a maximum of -inf, in torch too.
        assume(all(plain.within(window, rows) for window in windows))
    return layer, x


@given(pools(dilated=True))
@many
def test_max_pool_goes_back_as_defined_and_by_its_adjoint(case: tuple[nn.MaxPool2d, Tensor]) -> None:
    layer, x = case
    trace, value, back = back_through(layer, x)
    torch.testing.assert_close(trace.output, torch.from_numpy(plain.max_pool(layer, x.numpy())))
    assert_plain(trace, value, back)
    assert trace.switches is not None
    other = torch.randn_like(x)  # any input, pooled by the same switches
    assert_adjoint(back, other, value, other.flatten(2).gather(2, trace.switches.flatten(2)).view_as(value))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6))
@many
def test_adaptive_max_pool_goes_back_as_its_derivative(height: int, width: int, rows: int, columns: int) -> None:
    layer, x = nn.AdaptiveMaxPool2d((rows, columns)), normal(2, 2, height, width)
    trace, value, back = back_through(layer, x)
    torch.testing.assert_close(trace.output, layer(x))
    torch.testing.assert_close(back, gradient(layer, x, value))
    assert_plain(trace, value, back)


def test_equal_maxima_go_back_to_the_first_in_row_major_order() -> None:
    _, _, back = back_through(nn.MaxPool2d(2), torch.ones(1, 1, 2, 2))
    assert back[0, 0].count_nonzero() == 1
    assert back[0, 0, 0, 0] != 0


def test_values_add_up_where_windows_overlap_and_max_unpool_would_lose_some() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1.0  # the maximum of all four windows
    trace, value, back = back_through(nn.MaxPool2d(3, 2), x, torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    expected = torch.zeros(1, 1, 5, 5)
    expected[0, 0, 2, 2] = 10.0
    assert torch.equal(back, expected)
    assert trace.switches is not None
    overwritten = F.max_unpool2d(value, trace.switches, [3, 3], [2, 2], output_size=[5, 5])
    assert overwritten.sum() < back.sum()


# --- Average and L2 pooling ---------------------------------------------------------------------------------------------------


@given(pools(), st.booleans(), st.sampled_from([None, 5]))
@many
def test_average_pool_goes_back_as_defined_and_by_its_adjoint(
    case: tuple[nn.MaxPool2d, Tensor], count_include_pad: bool, divisor: int | None
) -> None:
    shape, x = case
    layer = nn.AvgPool2d(shape.kernel_size, shape.stride, shape.padding, shape.ceil_mode, count_include_pad, divisor)
    trace, value, back = back_through(layer, x)
    assert_adjoint(back, x, value, trace.output)
    assert_plain(trace, value, back)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6))
@many
def test_adaptive_average_pool_goes_back_as_defined_and_by_its_adjoint(
    height: int, width: int, rows: int, columns: int
) -> None:
    x = normal(1, 2, height, width)
    trace, value, back = back_through(nn.AdaptiveAvgPool2d((rows, columns)), x)
    assert_adjoint(back, x, value, trace.output)
    assert_plain(trace, value, back)


@given(pools(padded=False))
@many
def test_l2_pool_goes_back_as_defined_and_as_its_derivative(case: tuple[nn.MaxPool2d, Tensor]) -> None:
    shape, x = case
    layer = nn.LPPool2d(2, shape.kernel_size, shape.stride, shape.ceil_mode)
    trace, value, back = back_through(layer, x)
    assert_plain(trace, value, back)
    torch.testing.assert_close(back, gradient(layer, x, value))


@pytest.mark.parametrize("layer", [nn.LPPool2d(2, (3, 2)), nn.AvgPool2d((3, 2), padding=(1, 0))])
def test_pools_take_pairs_and_have_the_kernel_as_their_default_stride(layer: nn.Module) -> None:
    x = normal(2, 2, 7, 6)
    _, value, back = back_through(layer, x)
    torch.testing.assert_close(back, gradient(layer, x, value))


def test_l2_pool_sends_nothing_back_from_windows_without_strength() -> None:
    x = torch.zeros(1, 1, 2, 4)
    x[..., 2:] = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    _, _, back = back_through(nn.LPPool2d(2, 2), x, torch.ones(1, 1, 1, 2))
    assert torch.equal(back, x / 5)


def test_other_norms_than_l2_are_refused() -> None:
    traces = record(nn.Sequential(nn.LPPool2d(3, 2)), torch.rand(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"'0' has norm_type 3"):
        backproject(traces, traces[-1].output)


@pytest.mark.parametrize(
    "layer", [nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(2), nn.LPPool2d(2, 3, 2), nn.AdaptiveMaxPool2d(2)]
)
def test_every_pool_runs_in_bfloat16(layer: nn.Module) -> None:
    x = torch.randn(2, 3, 8, 8)
    _, value, back = back_through(layer, x.bfloat16())
    expected = gradient(layer, x.bfloat16().float(), value.float())
    torch.testing.assert_close(back.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("layer", [nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(2), nn.LPPool2d(2, 3, 2)])
def test_pools_go_back_without_autograd_in_any_mode(layer: nn.Module) -> None:
    x = torch.randn(2, 3, 8, 8)
    _, value, expected = back_through(layer, x)
    for mode in (torch.no_grad(), torch.inference_mode(), torch.enable_grad()):
        with mode:
            _, _, back = back_through(layer, x.clone().requires_grad_(), value.clone())
        assert torch.equal(back, expected)
        assert not back.requires_grad


# --- Rectifiers, norms, flatten, dense ----------------------------------------------------------------------------------------


def test_rectifier_keeps_what_is_positive_whatever_it_let_through() -> None:
    x, value = torch.tensor([[[[1.0, -1.0, 1.0, -1.0]]]]), torch.tensor([[[[2.0, 3.0, -4.0, -5.0]]]])
    assert back_through(nn.ReLU(), x, value)[2].flatten().tolist() == [2.0, 3.0, 0.0, 0.0]
    assert back_through(nn.LeakyReLU(0.25), x, value)[2].flatten().tolist() == [2.0, 3.0, -1.0, -1.25]


def test_norms_hold_their_statistics() -> None:
    """With them held a norm is linear, so autograd on it is the oracle."""
    for layer in (nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm((3, 5)), nn.BatchNorm2d(4, track_running_stats=False)):
        x = normal(2, 4, 3, 5)
        trace, value, back = back_through(layer.double(), x)
        # y = (x - m) s with m and s of the image: what v' = v s must be follows from y and x at two places of equal m and s.
        slope = (trace.output[..., 1] - trace.output[..., 0]) / (x[..., 1] - x[..., 0])
        torch.testing.assert_close(back[..., 0], value[..., 0] * slope)


def test_a_softmax_within_a_network_is_refused() -> None:
    traces = record(nn.Sequential(nn.Softmax(1)), torch.randn(1, 3, 2, 2))
    with pytest.raises(ValueError, match="'0' isn't the last layer of a classifier"):
        backproject(traces, traces[-1].output)


def test_dense_layers_on_maps_are_convolutions_without_bias() -> None:
    layer, x = nn.Linear(5, 3, dtype=torch.float64), normal(2, 4, 6, 5)
    _, value, back = back_through(layer, x)
    torch.testing.assert_close(back, gradient(layer, x, value))


def test_flatten_goes_back_to_the_shape_it_came_from() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    _, _, back = back_through(nn.Flatten(), x, x.flatten(1))
    assert torch.equal(back, x)
