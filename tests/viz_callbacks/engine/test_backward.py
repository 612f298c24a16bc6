import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from tests.viz_callbacks.engine import plain
from tests.viz_callbacks.engine.plain import Geometry
from viz_callbacks.engine.backward import BACKWARD_RULES, UnknownLayerError, backproject, rectify, rule_for
from viz_callbacks.engine.forward import named_layers, record
from viz_callbacks.engine.layer_trace import LayerTrace

many = settings(max_examples=60, deadline=None)


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype)


def back_through(layer: nn.Module, x: Tensor, value: Tensor | None = None) -> tuple[LayerTrace, Tensor, Tensor]:
    """The layer's trace, a value at its output, and what the reverse makes of it."""
    (trace,) = record(nn.Sequential(layer), x)
    value = torch.randn_like(trace.output) if value is None else value
    back = backproject([trace], value)
    assert back.shape == x.shape
    assert back.dtype == x.dtype
    return trace, value, back


def assert_adjoint(back: Tensor, x: Tensor, value: Tensor, image: Tensor) -> None:
    """<A^T v, x> = <v, A x>"""
    torch.testing.assert_close((back * x).sum(), (value * image).sum(), rtol=1e-9, atol=1e-9)


def gradient(layer: nn.Module, x: Tensor, value: Tensor) -> Tensor:
    """What autograd makes of the value: an oracle for every layer whose reverse is its derivative."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(layer(x), x, value)[0]


# --- Convolution --------------------------------------------------------------------------------------------------------------


def size(draw: st.DrawFn, kernel: int, dilation: int = 1, padding: int = 0) -> int:
    """Rows or columns enough for a window at least."""
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    return draw(st.integers(least, least + 8))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor]:
    kernel, stride, dilation = (draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(3))
    padding = draw(st.one_of(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.sampled_from(["valid", "same"])))
    stride = (1, 1) if padding == "same" else stride
    pads = padding if isinstance(padding, tuple) else (0, 0)
    height, width = (size(draw, kernel[i], dilation[i], pads[i]) for i in range(2))
    groups = draw(st.integers(1, 3))
    into, out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    layer = nn.Conv2d(into, out, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()), dtype=torch.float64)
    return layer, normal(draw(st.integers(1, 2)), into, height, width)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@given(convolutions())
@many
def test_convolution_goes_back_by_its_exact_adjoint(case: tuple[nn.Conv2d, Tensor]) -> None:
    layer, x = case
    trace, value, back = back_through(layer, x)
    without_bias = trace.output - (0 if layer.bias is None else layer.bias.detach()[:, None, None])
    assert_adjoint(back, x, value, without_bias)
    torch.testing.assert_close(back, gradient(layer, x, value))


@pytest.mark.parametrize(
    ("g", "groups", "size"),
    [
        (Geometry(3, 1, 1), 1, (5, 6)),
        (Geometry(3, 2, 0), 1, (8, 7)),  # one row is under no window
        (Geometry(2, 3, 1), 2, (9, 7)),  # stride > kernel: rows between windows
        (Geometry(3, 2, 2, dilation=2), 2, (7, 10)),
        (Geometry(11, 4, 0), 1, (17, 16)),
    ],
)
def test_convolution_goes_back_as_defined(g: Geometry, groups: int, size: tuple[int, int]) -> None:
    layer = nn.Conv2d(2 * groups, 3 * groups, g.kernel, g.stride, g.padding, g.dilation, groups, dtype=torch.float64)
    x = normal(2, 2 * groups, *size)
    trace, value, back = back_through(layer, x)
    assert layer.bias is not None
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    torch.testing.assert_close(trace.output, torch.from_numpy(plain.convolution(x.numpy(), weight, bias, g, groups)))
    expected = plain.conv_transpose(value.numpy(), tuple(x.shape), weight, g, groups)
    torch.testing.assert_close(back, torch.from_numpy(expected))


def test_convolution_with_another_border_is_refused() -> None:
    traces = record(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")), torch.randn(1, 1, 5, 5))
    with pytest.raises(ValueError, match=r"'0' has padding_mode 'reflect'; only 'zeros'"):
        backproject(traces, traces[-1].output)


# --- Max pooling --------------------------------------------------------------------------------------------------------------


@st.composite
def pools(draw: st.DrawFn, padded: bool = True, dilated: bool = False) -> tuple[Geometry, Tensor]:
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = draw(st.integers(0, kernel // 2)) if padded else 0
    g = Geometry(kernel, stride, padding, draw(st.integers(1, 2)) if dilated else 1, draw(st.booleans()))
    height, width = (size(draw, kernel, g.dilation, padding) for _ in range(2))
    for rows in (height, width):  # a window all in the padding has a maximum of -inf, in torch too
        assume(all(any(0 <= row < rows for row in g.window(place)) for place in range(g.outputs(rows))))
    return g, normal(draw(st.integers(1, 2)), draw(st.integers(1, 2)), height, width)


@given(pools(dilated=True))
@many
def test_max_pool_goes_back_as_defined_and_by_its_adjoint(case: tuple[Geometry, Tensor]) -> None:
    g, x = case
    trace, value, back = back_through(nn.MaxPool2d(g.kernel, g.stride, g.padding, g.dilation, ceil_mode=g.ceil_mode), x)
    maxima, switches = plain.max_pool(x.numpy(), g)
    torch.testing.assert_close(trace.output, torch.from_numpy(maxima))
    torch.testing.assert_close(back, torch.from_numpy(plain.max_unpool(value.numpy(), tuple(x.shape), switches)))
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
    overwritten = F.max_unpool2d(value, trace.switches, 3, 2, output_size=[5, 5])
    assert overwritten.sum() < back.sum()


# --- Average and L2 pooling ---------------------------------------------------------------------------------------------------


@given(pools(), st.booleans(), st.sampled_from([None, 5]))
@many
def test_average_pool_goes_back_as_defined_and_by_its_adjoint(
    case: tuple[Geometry, Tensor], count_include_pad: bool, divisor: int | None
) -> None:
    g, x = case
    trace, value, back = back_through(nn.AvgPool2d(g.kernel, g.stride, g.padding, g.ceil_mode, count_include_pad, divisor), x)
    assert_adjoint(back, x, value, trace.output)
    expected = plain.avg_unpool(value.numpy(), tuple(x.shape), g, count_include_pad, divisor)
    torch.testing.assert_close(back, torch.from_numpy(expected))


def test_average_pool_takes_pairs_and_has_the_kernel_as_its_default_stride() -> None:
    layer, x = nn.AvgPool2d((3, 2), padding=(1, 0)), normal(2, 2, 7, 6)
    _, value, back = back_through(layer, x)
    torch.testing.assert_close(back, gradient(layer, x, value))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6))
@many
def test_adaptive_average_pool_goes_back_as_defined_and_by_its_adjoint(
    height: int, width: int, rows: int, columns: int
) -> None:
    x = normal(1, 2, height, width)
    trace, value, back = back_through(nn.AdaptiveAvgPool2d((rows, columns)), x)
    assert_adjoint(back, x, value, trace.output)
    expected = torch.zeros_like(x)
    for row in range(rows):
        for column in range(columns):
            top, bottom = row * height // rows, math.ceil((row + 1) * height / rows)
            left, right = column * width // columns, math.ceil((column + 1) * width / columns)
            share = value[..., row, column] / ((bottom - top) * (right - left))
            expected[..., top:bottom, left:right] += share[..., None, None]
    torch.testing.assert_close(back, expected)


class SumOfSquaresPool(nn.LPPool2d):
    """The root of the sum of squares, with cut windows not enlarged, as one might write it."""

    def forward(self, input: Tensor) -> Tensor:
        squares = F.avg_pool2d(input**2, self.kernel_size, self.stride, ceil_mode=self.ceil_mode, divisor_override=1)
        return squares.sqrt()


@given(pools(padded=False), st.sampled_from([nn.LPPool2d, SumOfSquaresPool]))
@many
def test_l2_pool_goes_back_as_defined_and_as_its_derivative(case: tuple[Geometry, Tensor], kind: type[nn.LPPool2d]) -> None:
    g, x = case
    layer = kind(2, g.kernel, g.stride, g.ceil_mode)
    trace, value, back = back_through(layer, x)
    torch.testing.assert_close(back, torch.from_numpy(plain.lp_unpool(value.numpy(), x.numpy(), trace.output.numpy(), g)))
    if kind is SumOfSquaresPool or not g.ceil_mode:
        torch.testing.assert_close(back, gradient(layer, x, value))


def test_l2_pool_takes_pairs_and_has_the_kernel_as_its_default_stride() -> None:
    layer, x = nn.LPPool2d(2, (3, 2)), normal(2, 2, 7, 6)
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


# --- Rectifiers, norms, flatten, dense ----------------------------------------------------------------------------------------


def test_rectifier_keeps_what_is_positive_whatever_it_let_through() -> None:
    x, value = torch.tensor([[[[1.0, -1.0, 1.0, -1.0]]]]), torch.tensor([[[[2.0, 3.0, -4.0, -5.0]]]])
    assert back_through(nn.ReLU(), x, value)[2].flatten().tolist() == [2.0, 3.0, 0.0, 0.0]
    assert back_through(nn.LeakyReLU(0.25), x, value)[2].flatten().tolist() == [2.0, 3.0, -1.0, -1.25]


class FasterLocalResponseNorm(nn.LocalResponseNorm):
    """Derived types inherit the rule."""


@pytest.mark.parametrize(
    "layer",
    [
        nn.Tanh(), nn.Sigmoid(), FasterLocalResponseNorm(3), nn.BatchNorm2d(4), nn.SyncBatchNorm(4), nn.Dropout(0.9),
        nn.Dropout2d(0.9), nn.Identity(),
    ],
)  # fmt: skip
def test_these_layers_pass_values_on_as_they_are(layer: nn.Module) -> None:
    _, value, back = back_through(layer, torch.randn(2, 4, 3, 3))
    assert torch.equal(back, value)


def test_flatten_goes_back_to_the_shape_it_came_from() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    _, _, back = back_through(nn.Flatten(), x, x.flatten(1))
    assert torch.equal(back, x)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_subtracts_the_bias_and_multiplies_by_the_transposed_weights(bias: bool) -> None:
    linear = nn.Linear(6, 4, bias, dtype=torch.float64)
    traces = record(nn.Sequential(nn.Flatten(), linear), normal(3, 1, 2, 3))
    value = normal(3, 4)
    b = linear.bias.detach().numpy() if bias else torch.zeros(4).numpy()
    expected = plain.linear_transpose(value.numpy(), linear.weight.detach().numpy(), b)
    torch.testing.assert_close(backproject(traces[1:], value), torch.from_numpy(expected))


# --- The walk -----------------------------------------------------------------------------------------------------------------


def small_network() -> nn.Sequential:
    """All kinds of state: in-place and shared rectifiers, dropout, batch norm, overlapping pools, nested parts."""
    shared = nn.ReLU(inplace=True)
    features = nn.Sequential(
        nn.Conv2d(3, 6, 5, 2), nn.BatchNorm2d(6), shared, nn.MaxPool2d(3, 2), nn.LocalResponseNorm(3),
        nn.Conv2d(6, 8, 3, padding=1, groups=2), shared, nn.Dropout2d(0.5), nn.MaxPool2d(3, 2, ceil_mode=True),
    )  # fmt: skip
    classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 10), shared, nn.Linear(10, 4))
    return nn.Sequential(features, classifier)


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    network = small_network()
    network[0][1].running_mean.uniform_(-1, 1)
    network[0][1].running_var.uniform_(0.5, 2)
    return network


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 23, 23, generator=torch.Generator().manual_seed(1))


def test_record_equals_the_network_itself_when_evaluating(network: nn.Sequential, images: Tensor) -> None:
    network.train()
    traces = record(network, images)
    for trace, following in itertools.pairwise(traces):
        assert trace.output is following.input
    rectified = [trace for trace in traces if isinstance(trace.layer, nn.ReLU)]
    assert len(rectified) == 3
    for trace in rectified:
        assert (trace.input < 0).any(), "an in-place rectifier has overwritten its record"
        assert torch.equal(trace.output, trace.input.clamp(min=0))
    assert torch.equal(traces[-1].output, network.eval()(images))


def test_a_network_in_training_is_left_exactly_as_it_was(network: nn.Sequential, images: Tensor) -> None:
    network.train()
    network[0][2].eval()  # modes may be mixed
    before = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    in_place = [getattr(module, "inplace", None) for module in network.modules()]
    random_state = torch.get_rng_state()
    given = images.clone().requires_grad_()
    traces = record(network, given)
    assert not backproject(traces, traces[-1].output).requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [module.training for module in network.modules()] == modes
    assert [getattr(module, "inplace", None) for module in network.modules()] == in_place
    assert all(not module._forward_hooks and not module._backward_hooks for module in network.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert given.grad is None
    assert torch.equal(given, images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(pool.return_indices is False for pool in network.modules() if isinstance(pool, nn.MaxPool2d))


def test_the_record_follows_neither_later_training_nor_in_place_layers(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    before = [trace.output.clone() for trace in traces]
    network.train()(images).sum().backward()
    assert all(torch.equal(trace.output, kept) for trace, kept in zip(traces, before, strict=True))


def test_it_runs_in_inference_mode(network: nn.Sequential, images: Tensor) -> None:
    def down_and_back() -> Tensor:
        traces = record(network, images)
        return backproject(traces, traces[-1].output)

    with torch.inference_mode():
        inferred = down_and_back()
    assert torch.equal(inferred, down_and_back())


def test_autocast_around_it_changes_nothing(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    expected = backproject(traces, traces[-1].output)
    with torch.autocast("cpu", torch.bfloat16):
        traces = record(network, images)
        assert torch.equal(backproject(traces, traces[-1].output), expected)


def test_images_do_not_depend_on_their_batch(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    together = backproject(traces, traces[-1].output)
    for image, projection in zip(images, together, strict=True):
        alone = record(network, image[None])
        torch.testing.assert_close(backproject(alone, alone[-1].output)[0], projection, rtol=1e-4, atol=1e-5)


def test_channels_last_changes_nothing(network: nn.Sequential, images: Tensor) -> None:
    traces = record(network, images)
    expected = backproject(traces, traces[-1].output)
    network = network.to(memory_format=torch.channels_last)
    traces = record(network, images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(backproject(traces, traces[-1].output), expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_near(network: nn.Sequential, images: Tensor) -> None:
    network[0][4] = nn.Identity()  # torch has no local response norm in bfloat16 on the CPU
    traces = record(network, images)
    expected = backproject(traces[:7], traces[6].output)
    traces = record(network.bfloat16(), images.bfloat16())
    projection = backproject(traces[:7], traces[6].output)
    assert projection.dtype == torch.bfloat16
    assert F.cosine_similarity(projection.float().flatten(), expected.flatten(), dim=0) > 0.99


@pytest.mark.parametrize(
    "layer", [nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(2), nn.LPPool2d(2, 3, 2), nn.AdaptiveMaxPool2d(2)]
)
def test_every_pool_runs_in_bfloat16(layer: nn.Module) -> None:
    x = torch.randn(2, 3, 8, 8)
    _, value, back = back_through(layer, x.bfloat16())
    expected = gradient(layer, x.bfloat16().float(), value.float())
    torch.testing.assert_close(back.float(), expected, rtol=0.1, atol=0.1)


def test_names_are_dotted_and_a_layer_used_twice_comes_twice() -> None:
    conv, relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
    network = nn.Sequential(nn.Sequential(conv, relu, conv), nn.Sequential(nn.Sequential(relu)))
    assert [(name, layer) for name, layer in named_layers(network)] == [
        ("0.0", conv),
        ("0.1", relu),
        ("0.2", conv),
        ("1.0.0", relu),
    ]
    traces = record(network, torch.randn(1, 3, 6, 6))
    assert [trace.name for trace in traces] == ["0.0", "0.1", "0.2", "1.0.0"]
    by_hand = traces[3].output
    for _ in range(2):
        by_hand = F.conv_transpose2d(by_hand.clamp(min=0), conv.weight.detach(), padding=1)
    torch.testing.assert_close(backproject(traces, traces[-1].output), by_hand)


def test_with_masks_in_place_of_rectification_the_walk_is_the_gradient(network: nn.Sequential, images: Tensor) -> None:
    """A method is a choice of reverses: these are backpropagation's, so autograd is the oracle for the whole walk."""
    network = nn.Sequential(*(layer for _, layer in named_layers(network) if not isinstance(layer, nn.LocalResponseNorm)))
    reverses = BACKWARD_RULES | {
        nn.ReLU: lambda trace, value: value * (trace.input > 0),
        nn.Linear: lambda trace, value: value @ trace.layer.weight,
        nn.BatchNorm2d: lambda trace, value: (
            value * (trace.layer.weight / (trace.layer.running_var + trace.layer.eps).sqrt())[:, None, None]
        ),
    }
    traces = record(network, images)
    value = torch.randn_like(traces[-1].output)
    torch.testing.assert_close(
        backproject(traces, value, reverses), gradient(network.eval(), images, value), rtol=1e-4, atol=1e-5
    )


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


def test_pruned_and_normalised_weights_are_those_of_the_forward_pass() -> None:
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 3, 3, dtype=torch.float64)).train()
    pruned = prune.l1_unstructured(nn.Conv2d(3, 3, 3, dtype=torch.float64), "weight", amount=0.5)
    network, x = nn.Sequential(conv, pruned), normal(1, 2, 7, 7)
    before = copy.deepcopy(network.state_dict())
    traces = record(network, x)
    value = torch.randn_like(traces[-1].output)
    back = backproject(traces, value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    torch.testing.assert_close(back, gradient(network.eval(), x, value))


def test_compiled_layers_evaluate_too() -> None:
    network, x = nn.Sequential(nn.Identity(), nn.Dropout(0.5)).train(), torch.randn(1, 1, 6, 6)
    network[1].compile(backend="eager")
    assert torch.equal(record(network, x)[-1].output, x)


def test_hooks_of_others_run_as_ever_and_see_one_tensor() -> None:
    seen = []
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2))
    for layer in network:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    record(network, torch.randn(1, 1, 6, 6))
    assert seen == [(1, 1, 4, 4)]


# --- Errors -------------------------------------------------------------------------------------------------------------------


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Block(nn.Module):
    """Not a chain: has a dropout inside, that must not drop."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(x)


class OwnOrder(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


@pytest.mark.parametrize("layer", [Doubling(), Block(), OwnOrder(nn.ReLU())])
def test_an_unknown_layer_is_named_with_the_remedy(layer: nn.Module) -> None:
    traces = record(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh(), layer)), torch.randn(1, 1, 4, 4))
    kind = type(layer).__name__
    with pytest.raises(UnknownLayerError, match=rf"'1.1', a {kind}.*BACKWARD_RULES\[{kind}\] = function\(trace, value\)"):
        backproject(traces, traces[-1].output)
    with pytest.raises(UnknownLayerError):
        rule_for(traces[-1])


def test_one_more_entry_teaches_one_more_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = record(nn.Sequential(nn.Identity(), Doubling()), torch.randn(1, 1, 4, 4))
    monkeypatch.setitem(BACKWARD_RULES, Doubling, lambda trace, value: 2 * value)
    assert torch.equal(backproject(traces, torch.ones(1, 1, 4, 4)), torch.full((1, 1, 4, 4), 2.0))


def test_the_nearest_type_decides() -> None:
    trace, _, _ = back_through(FasterLocalResponseNorm(3), torch.randn(1, 3, 2, 2))
    assert rule_for(trace, BACKWARD_RULES | {FasterLocalResponseNorm: rectify}) is rectify


def test_parts_within_an_own_layer_evaluate_too() -> None:
    block, x = Block().train(), torch.randn(1, 1, 4, 4)
    (trace,) = record(nn.Sequential(block), x)
    assert torch.equal(trace.output, 2 * x)
    assert block.dropout.training


@pytest.mark.parametrize("network", [nn.ReLU(), nn.ModuleList([nn.ReLU()])])
def test_a_network_that_is_no_chain_is_refused_with_the_remedy(network: nn.Module) -> None:
    with pytest.raises(TypeError, match=rf"not a {type(network).__name__}: wrap it, or its parts, in nn.Sequential"):
        record(network, torch.randn(1, 1, 4, 4))


def test_other_shapes_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(ValueError, match=r"must be \(N, C, H, W\), not \(1, 6, 6\)"):
        record(network, torch.randn(1, 6, 6))
    traces = record(network, torch.randn(1, 1, 6, 6))
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\), but the output of '0' is \(1, 2, 4, 4\)"):
        backproject(traces, torch.randn(1, 2, 3, 4))
