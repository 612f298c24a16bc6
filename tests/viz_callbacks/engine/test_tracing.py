"""Networks that are not nn.Sequential: the same walk as for the same layers in a row, or an error that names the remedy."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.viz_callbacks.engine.networks import Does, Stem, every_layer
from viz_callbacks.engine.backward import BACKWARD_RULES, UnknownLayerError, backproject
from viz_callbacks.engine.forward import named_layers, record
from viz_callbacks.engine.graph import trace_network
from viz_callbacks.engine.tracing import UntraceableError
from viz_callbacks.methods.deconvolution import deconvolution

# --- The same walk ------------------------------------------------------------------------------------------------------------


def layers_in_a_row() -> st.SearchStrategy[list[nn.Module]]:
    """Layers for (N, 4, H, W) that leave the channels and at least one row and column of 16."""
    keep_shape: list[Callable[[], nn.Module]] = [
        partial(nn.Conv2d, 4, 4, 3, padding=1, groups=2), partial(nn.ReLU, inplace=True), nn.Tanh, partial(nn.Dropout, 0.9),
        partial(nn.LocalResponseNorm, 3), partial(nn.BatchNorm2d, 4), nn.Identity, partial(nn.MaxPool2d, 3, 1, 1),
    ]  # fmt: skip
    pools = st.sampled_from([partial(nn.MaxPool2d, 3, 2, 1), partial(nn.AvgPool2d, 2), partial(nn.AdaptiveAvgPool2d, 2)])
    made = st.lists(st.sampled_from(keep_shape), min_size=1, max_size=9).map(lambda makers: [make() for make in makers])
    return st.builds(lambda layers, pool: [*layers, pool()], made, pools)


def grouped(layers: Sequence[nn.Module], cuts: Iterator[int]) -> nn.Module:
    """The layers in one module of a drawn kind, in groups that are modules again."""
    groups, rest = [], list(layers)
    while rest:
        length = next(cuts)
        own, rest = rest[:length], rest[length:]
        groups.append(own[0] if len(own) == 1 else grouped(own, cuts) if len(own) < len(layers) else nn.Sequential(*own))

    def one_after_the_other(self: Does, x: Tensor) -> object:
        for group in self.groups:
            x = group(x)
        return x

    return nn.Sequential(*groups) if next(cuts) > 2 else Does(one_after_the_other, groups=nn.ModuleList(groups))


@given(layers_in_a_row(), st.lists(st.integers(1, 4), min_size=8, max_size=8))
@settings(max_examples=25, deadline=None)
def test_however_the_layers_are_wrapped_the_walk_is_that_of_an_nn_sequential(layers: list[nn.Module], cuts: list[int]) -> None:
    dense = nn.Linear(4 * 4 if isinstance(layers[-1], nn.AdaptiveAvgPool2d) else 4 * 64, 3)
    parts = {"features": grouped(layers, itertools.cycle(cuts)), "dense": dense}
    network = Does(lambda self, x: self.dense(torch.flatten(self.features(x), 1)), **parts)
    row, images = nn.Sequential(*layers, nn.Flatten(), dense), torch.randn(2, 4, 16, 16)
    traces, expected = record(network, images, keep=every_layer(network)), record(row, images, keep=every_layer(row))
    for trace, other in zip(traces, expected, strict=True):
        assert type(trace.layer) is type(other.layer)
        assert torch.equal(trace.output, other.output)
    assert len({trace.name for trace in traces}) == len(traces)
    value = torch.randn(2, 3)
    assert torch.equal(backproject(traces, value), backproject(expected, value))


RESHAPED: list[Callable[[Tensor], Tensor]] = [
    lambda x: torch.flatten(x, 1),
    lambda x: torch.flatten(x, start_dim=1, end_dim=-1),
    lambda x: x.flatten(1),
    lambda x: x.flatten(2),
    lambda x: torch.flatten(x),
    lambda x: x.view(x.size(0), -1),
    lambda x: x.view(x.size()[0], 12),
    lambda x: x.view(-1, 12),
    lambda x: x.view(x.shape[1:][0], -1),
    lambda x: x.reshape(x.shape[0], -1),
    lambda x: torch.reshape(x, (x.shape[0], x.numel() // x.shape[0])),
]


@pytest.mark.parametrize("reshaped", RESHAPED)
def test_a_change_of_shape_goes_back_to_the_shape_it_came_from(reshaped: Callable[[Tensor], Tensor]) -> None:
    network, x = Does(lambda self, x: reshaped(self.pool(x)), pool=nn.AvgPool2d(2)), torch.randn(5, 3, 4, 4)
    traces = record(network, x, keep=every_layer(network))
    assert torch.equal(traces[-1].output, reshaped(traces[0].output))
    assert torch.equal(backproject(traces[1:], reshaped(traces[0].output)), traces[0].output)


def test_the_batch_size_may_be_that_of_any_value() -> None:
    def run(self: Does, x: Tensor) -> object:
        images, channels, _, _ = x.shape
        torch._assert(channels * 1 == 3, "three channels")
        return self.pool(x).view(images, -1)

    network, x = Does(run, pool=nn.AvgPool2d(2)), torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    traces = record(network, x)
    assert [trace.name for trace in traces] == ["pool", "view"]
    value = torch.randn(2, 12, dtype=torch.float64)
    torch.testing.assert_close(backproject(traces, value), torch.autograd.grad(nn.AvgPool2d(2)(x).flatten(1), x, value)[0])


def test_a_part_used_twice_comes_twice_under_names_of_its_own() -> None:
    traces = record(Stem(), torch.randn(1, 3, 43, 43))
    names = ["conv1", "relu", "pool", "conv2", "relu_1", "pool_1", "view", "dropout", "fc1", "relu_2", "fc2"]
    assert [trace.name for trace in traces] == names

    def run(self: Does, x: Tensor) -> object:
        return self.flatten(torch.flatten(self.relu_1(self.relu(self.relu(x))), 1))

    network = Does(run, relu=nn.ReLU(), relu_1=nn.Tanh(), flatten=nn.Identity())
    names = ["relu", "relu_2", "relu_1", "flatten_1", "flatten"]
    assert [name for name, _ in named_layers(network)] == names, "each layer's own name stays its own"


def test_the_forward_is_that_of_evaluation_whatever_the_mode() -> None:
    def run(self: Does, x: Tensor) -> object:
        if self.training:
            x = x + torch.randn(3)
        torch.rand(1)  # a forward may draw what nobody needs
        return self.relu(x)

    network = Does(run, relu=nn.ReLU()).train()
    random_state = torch.get_rng_state()
    assert list(named_layers(network)) == [("relu", network.relu)]
    assert network.training
    assert torch.equal(torch.get_rng_state(), random_state)


class WithOptions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tanh = nn.Tanh()

    def forward(self, x: Tensor, twice: bool = False, mask: Tensor | None = None) -> object:
        x = self.tanh(x if mask is None else x * mask)
        return self.tanh(x) if twice else x


def test_further_arguments_keep_their_defaults() -> None:
    assert [name for name, _ in named_layers(WithOptions())] == ["tanh"]


def test_what_wraps_a_network_is_taken_off() -> None:
    network, x = Stem(), torch.randn(1, 3, 43, 43)
    expected = [trace.name for trace in record(network, x)]
    wrappers: list[nn.Module] = [nn.DataParallel(network), torch.compile(network, backend="eager")]  # type: ignore[list-item]  # it is a module
    for wrapped in wrappers:
        traces = record(wrapped, x)
        assert [trace.name for trace in traces] == expected
        assert traces[-1].output.equal(record(network, x)[-1].output)


# --- Once, and for one thread -------------------------------------------------------------------------------------------------


def test_a_network_is_followed_once_until_it_changes() -> None:
    network = Does(lambda self, x: self.relu(x) if self.twice else self.relu(self.relu(x)), relu=nn.ReLU())
    network.twice = False
    graph = trace_network(network)
    assert trace_network(network) is graph
    network.twice = True
    assert len(trace_network(network).nodes) == len(graph.nodes) - 1
    network.relu = nn.ReLU()
    assert trace_network(network).nodes[0].layer is network.relu


def test_other_threads_run_as_ever_while_a_network_is_followed() -> None:
    other, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(1, 3, 8, 8)
    expected, seen = other(x), list[object]()

    def run(self: Does, value: Tensor) -> object:
        thread = threading.Thread(target=lambda: seen.append(other(x)))
        thread.start()
        thread.join()
        return self.relu(value)

    trace_network(Does(run, relu=nn.ReLU()))
    (found,) = seen
    assert isinstance(found, Tensor)
    assert torch.equal(found, expected)


# --- A layer of one's own -----------------------------------------------------------------------------------------------------


class Halves(nn.Module):
    """A list of layers that could be opened up."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.AvgPool2d(2), nn.ReLU()

    def forward(self, x: Tensor) -> object:
        return self.second(self.first(x))


class HalvesOfAnotherName(Halves):
    """Derived types inherit the rule."""


def test_a_registered_type_stays_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Does(lambda self, x: self.block(x), block=Halves())
    assert [name for name, _ in named_layers(network)] == ["block.first", "block.second"]
    monkeypatch.setitem(BACKWARD_RULES, Halves, lambda trace, value: F.interpolate(value, scale_factor=2))
    assert [name for name, _ in named_layers(network)] == ["block"]
    assert [name for name, _ in named_layers(nn.Sequential(nn.Tanh(), Halves(), HalvesOfAnotherName()))] == ["0", "1", "2"]
    traces = record(network, torch.randn(1, 1, 4, 4))
    assert torch.equal(backproject(traces, torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 4, 4))


def test_a_registered_type_may_take_several_values(monkeypatch: pytest.MonkeyPatch) -> None:
    class Difference(nn.Module):
        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return one - other

    monkeypatch.setitem(BACKWARD_RULES, Difference, lambda trace, value: (value, -value))
    network = Does(lambda self, x: self.block(self.pool(x), other=x), block=Difference(), pool=nn.AvgPool2d(1))
    traces = record(network, torch.randn(1, 2, 3, 3))
    assert traces[-1].sources == ("pool", "")
    assert not backproject(traces, torch.randn(1, 2, 3, 3)).any()


# --- Errors -------------------------------------------------------------------------------------------------------------------


def depends(self: Does, x: Tensor) -> object:
    return self.conv(x) if x.sum() > 0 else x


WITHOUT_A_WAY_BACK: list[tuple[Callable[[Does, Tensor], object], str]] = [
    (lambda self, x: torch.exp(self.conv(x)), r"'exp'. The forward calls torch.exp on the output of 'conv'"),
    (lambda self, x: self.conv(x).abs(), r"'abs.*. The forward calls .abs\(\) on the output of 'conv'"),
    (lambda self, x: x**2, r"'pow.*calls operator.pow on the images"),
    (lambda self, x: self.conv(x) / self.relu(x), r"'truediv'.*on the output of 'conv' and the output of 'relu'"),
    (lambda self, x: self.conv(x) * self.relu(x), r"'mul'. The forward calls operator.mul on the output of 'conv' and"),
    (lambda self, x: x * x, r"'mul'. The forward calls operator.mul on the images"),
    (lambda self, x: torch.matmul(x, self.conv(x)), r"'matmul'.*calls torch.matmul on the images and the output of"),
    (lambda self, x: torch.ops.aten.relu.default(x), r"'relu.*calls .*relu.default on the images"),
]


def parts(run: Callable[[Does, Tensor], object]) -> Does:
    return Does(run, conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU(), pool=nn.AvgPool2d(1))


@pytest.mark.parametrize(("run", "message"), WITHOUT_A_WAY_BACK)
def test_a_function_without_a_way_back_is_recorded_and_named_on_the_way(
    run: Callable[[Does, Tensor], object], message: str
) -> None:
    network, images = parts(run), torch.rand(1, 3, 4, 4) + 1
    traces = record(network, images)
    assert torch.equal(traces[-1].output, network(images))
    with pytest.raises(UnknownLayerError, match=rf"No backward rule is known for {message}.*Make it a module of its own"):
        backproject(traces, traces[-1].output)


UNTRACEABLE: list[tuple[Callable[[Does, Tensor], object], str]] = [
    (depends, r"can't be followed from layer to layer \(.*control flow\): build an nn.Sequential of its layers"),
    (lambda self, x: (x, self.conv(x)), r"gives back something else than the output of one of its layers: let it"),
    (lambda self, x: {"out": self.conv(x)}, r"gives back something else than the output of one of its layers"),
    (lambda self, x: self.missing(x), r"can't be followed from layer to layer \(.*'missing'\): build an nn.Sequential"),
    (lambda self, x: nn.ReLU()(x), r"can't be followed from layer to layer \(.*not installed as a submodule\): build an nn"),
]


@pytest.mark.parametrize(("run", "message"), UNTRACEABLE)
def test_what_can_not_be_followed_is_named_with_the_remedy(run: Callable[[Does, Tensor], object], message: str) -> None:
    with pytest.raises(UntraceableError, match=f"^The forward of a Does {message}"):
        record(parts(run), torch.randn(1, 3, 4, 4))


def test_a_part_that_can_not_be_followed_is_one_layer_that_cannot_be_walked_back() -> None:
    block = parts(depends).train()
    network, images = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), block)), torch.randn(1, 3, 4, 4)
    traces = record(network, images)
    assert [trace.name for trace in traces] == ["0", "1.0", "1.1"]
    assert torch.equal(traces[-1].output, network(images))
    assert deconvolution(traces, "0").shape == images.shape, "what comes before it can be looked at"
    with pytest.raises(
        UnknownLayerError,
        match=r"'1.1', a Does. Add one: BACKWARD_RULES\[Does\] = .*Its forward can't be followed \(.*control fl",
    ):
        backproject(traces, traces[-1].output)
    with pytest.raises(ValueError, match=r"no convolution layer '1.1.conv'; the network has 0. Its forward can't be followed"):
        deconvolution(traces, "1.1.conv")


def test_nothing_of_a_part_that_can_not_be_followed_is_left() -> None:
    def run(self: Does, x: Tensor) -> object:
        return self.block(self.relu(x) + x)

    block = parts(lambda self, x: depends(self, self.relu(self.conv(x)) * self.conv.weight))
    assert [name for name, _ in named_layers(Does(run, relu=nn.ReLU(), block=block))] == ["relu", "add", "block"]


def test_a_layer_that_takes_more_than_values_has_no_way_back() -> None:
    unpool = nn.ConvTranspose2d(3, 3, 3, stride=2)
    network, x = Does(lambda self, x: self.block(x, (10, 10)), block=unpool), torch.randn(1, 3, 4, 4)
    traces = record(network, x)
    assert torch.equal(traces[-1].output, unpool(x, [10, 10]))
    with pytest.raises(UnknownLayerError, match=r"'block', a ConvTranspose2d.*called with more than values"):
        backproject(traces, traces[-1].output)


def test_a_layer_without_parts_is_not_told_to_become_one() -> None:
    traces = record(nn.Sequential(nn.Softmin(1)), torch.randn(1, 1, 3, 4))
    with pytest.raises(UnknownLayerError, match=r"'0', a Softmin.*into one at its input.$"):
        backproject(traces, traces[-1].output)
