"""Networks that are not nn.Sequential: the same walk as for the same layers in a row, or an error that names the remedy."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.viz_callbacks.engine.networks import Does, Stem
from viz_callbacks.engine.backward import BACKWARD_RULES, UnknownLayerError, backproject
from viz_callbacks.engine.forward import named_layers, record
from viz_callbacks.engine.tracing import UntraceableError, trace_layers
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
    traces, expected = record(network, images), record(row, images)
    for trace, other in zip(traces, expected, strict=True):
        assert type(trace.layer) is type(other.layer)
        assert torch.equal(trace.output, other.output)
    assert len({trace.name for trace in traces}) == len(traces)
    value = torch.randn(2, 3)
    assert torch.equal(backproject(traces, value), backproject(expected, value))


FLATTENED: list[Callable[[Tensor], Tensor]] = [
    lambda x: torch.flatten(x, 1),
    lambda x: torch.flatten(x, start_dim=1, end_dim=-1),
    lambda x: x.flatten(1),
    lambda x: x.view(x.size(0), -1),
    lambda x: x.view(x.size()[0], 12),
    lambda x: x.view(-1, 12),
    lambda x: x.reshape(x.shape[0], -1),
    lambda x: torch.reshape(x, (x.shape[0], -1)),
]


@pytest.mark.parametrize("flattened", FLATTENED)
def test_flattening_by_a_function_becomes_a_layer(flattened: Callable[[Tensor], Tensor]) -> None:
    def run(self: Does, x: Tensor) -> object:
        return self.dense(flattened(self.pool(x)))

    network, x = Does(run, pool=nn.AvgPool2d(2), dense=nn.Linear(12, 2)), torch.randn(5, 3, 4, 4)
    traces = record(network, x)
    assert [trace.name for trace in traces] == ["pool", "flatten", "dense"]
    assert isinstance(traces[1].layer, nn.Flatten)
    assert torch.equal(traces[1].output, flattened(traces[0].output))


def test_the_batch_size_may_be_that_of_any_value() -> None:
    def run(self: Does, x: Tensor) -> object:
        images, channels, _, _ = x.shape
        torch._assert(channels * 1 == 3, "three channels")
        return self.pool(x).view(images, -1)

    assert [name for name, _ in trace_layers(Does(run, pool=nn.AvgPool2d(2)))] == ["pool", "flatten"]


@pytest.mark.parametrize(
    "reshaped",
    [
        torch.flatten,
        lambda x: torch.flatten(x, end_dim=1),
        lambda x: x.flatten(1, 2),
        lambda x: x.flatten(2),
        lambda x: x.view(-1),
        lambda x: x.view(x.size(1), -1),
        lambda x: x.view(x.shape[1:][0], -1),
        lambda x: x.view(x.size(0), 3, -1),
    ],
)
def test_another_shape_is_refused(reshaped: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UntraceableError, match=r"flatten|view.* on its input: make it a layer, nn.Flatten\(\)"):
        trace_layers(Does(lambda self, x: reshaped(x)))


def test_a_part_used_twice_comes_twice_under_names_of_its_own() -> None:
    traces = record(Stem(), torch.randn(1, 3, 43, 43))
    names = ["conv1", "relu", "pool", "conv2", "relu_1", "pool_1", "flatten", "dropout", "fc1", "relu_2", "fc2"]
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
    assert trace_layers(network) == [("relu", network.relu)]
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
    assert [name for name, _ in trace_layers(WithOptions())] == ["tanh"]


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


# --- Errors -------------------------------------------------------------------------------------------------------------------


def added(self: Does, x: Tensor) -> object:
    return x + self.conv(x)


def joined(self: Does, x: Tensor) -> object:
    x = self.conv(x)
    return torch.cat([x, self.relu(x)], 1)


def projected(self: Does, x: Tensor) -> object:
    x = self.conv(x)
    return self.conv(x) + self.pool(x)


def depends(self: Does, x: Tensor) -> object:
    return self.conv(x) if x.sum() > 0 else x


ERRORS: list[tuple[Callable[[Does, Tensor], object], str]] = [
    (lambda self, x: F.relu(self.conv(x)), r"calls F.relu on the output of 'conv': make it a layer, nn.ReLU\(\)\.$"),
    (lambda self, x: torch.relu(x), r"calls torch.relu on its input: make it a layer, nn.ReLU\(\)\.$"),
    (lambda self, x: self.conv(x).relu(), r"calls .relu\(\) on the output of 'conv': make it a layer, nn.ReLU\(\)\.$"),
    (lambda self, x: torch.ops.aten.relu.default(x), r"calls .*relu.default on its input: make it a layer, a module of its"),
    (lambda self, x: F.relu_(x), r"calls torch.relu_ on its input: make it a layer, nn.ReLU\(\)\.$"),
    (lambda self, x: F.leaky_relu(x), r"calls F.leaky_relu .*nn.LeakyReLU\(\)\.$"),
    (lambda self, x: F.max_pool2d(x, 2), r"calls F.max_pool2d .*nn.MaxPool2d\(\.\.\.\)\.$"),
    (lambda self, x: F.avg_pool2d(x, 2), r"calls F.avg_pool2d .*nn.AvgPool2d\(\.\.\.\)\.$"),
    (lambda self, x: F.adaptive_avg_pool2d(x, 1), r"calls F.adaptive_avg_pool2d .*nn.AdaptiveAvgPool2d\(\.\.\.\)\.$"),
    (lambda self, x: x.mean((2, 3)), r"calls .mean\(\) .*nn.AdaptiveAvgPool2d\(\.\.\.\)\.$"),
    (lambda self, x: F.dropout(x, 0.5, self.training), r"calls F.dropout .*nn.Dropout\(\)\.$"),
    (lambda self, x: F.log_softmax(x, 1), r"calls F.log_softmax .*nn.LogSoftmax\(\)\.$"),
    (lambda self, x: 2 * self.conv(x), r"calls operator.mul on the output of 'conv': make it a layer, a module of its own"),
    (lambda self, x: x * self.conv.weight, r"calls operator.mul on its input: make it a layer, a module of its own"),
    (lambda self, x: self.relu(x)[:, :1], r"calls operator.getitem on the output of 'relu'"),
    (lambda self, x: self.pool(x, (3, 3)), r"calls 'pool' on its input: make it a layer, a module of its own that takes one"),
    (added, r"uses a value twice: its input goes into operator.add too.*look at those before the shortcut alone"),
    (joined, r"uses a value twice: the output of 'conv' goes into torch.cat too.*look at those before the shortcut alone"),
    (projected, r"uses a value twice: the output of 'conv' goes into 'pool' too.*look at those before the shortcut alone"),
    (depends, r"can't be followed from layer to layer \(.*control flow\): build an nn.Sequential of its layers"),
    (lambda self, x: (x, self.conv(x)), r"gives back something else than the output of its last layer: let it give back that"),
    (lambda self, x: self.missing(x), r"can't be followed from layer to layer \(.*'missing'\): build an nn.Sequential"),
    (lambda self, x: nn.ReLU()(x), r"can't be followed from layer to layer \(.*not installed as a submodule\): build an nn"),
]  # fmt: skip


def refused(run: Callable[[Does, Tensor], object]) -> Does:
    return Does(run, conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU(), pool=nn.AvgPool2d(1))


@pytest.mark.parametrize(("run", "message"), ERRORS)
def test_what_is_no_list_of_layers_is_named_with_the_remedy(run: Callable[[Does, Tensor], object], message: str) -> None:
    with pytest.raises(TypeError, match=f"^The forward of a Does {message}"):
        record(refused(run), torch.randn(1, 3, 4, 4))


@pytest.mark.parametrize(("run", "message"), [ERRORS[0], *((run, m) for run, m in ERRORS if run in (added, joined, projected))])
def test_a_part_that_is_no_list_of_layers_is_one_layer_that_cannot_be_walked_back(
    run: Callable[[Does, Tensor], object], message: str
) -> None:
    block = refused(run).train()
    network, images = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), block)), torch.randn(1, 3, 4, 4)
    traces = record(network, images)
    assert [trace.name for trace in traces] == ["0", "1.0", "1.1"]
    assert torch.equal(traces[-1].output, network(images))
    assert deconvolution(traces, "0").shape == images.shape, "what comes before it can be looked at"
    with pytest.raises(
        UnknownLayerError, match=rf"'1.1', a Does. Add one: BACKWARD_RULES\[Does\] = .*The forward of a Does {message}"
    ):
        backproject(traces, traces[-1].output)
    with pytest.raises(
        ValueError, match=rf"no convolution layer '1.1.conv'; the network has 0. The forward of a Does {message}"
    ):
        deconvolution(traces, "1.1.conv")


def test_a_layer_without_parts_is_not_told_to_become_one() -> None:
    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    for layer in (Double(), nn.GELU()):
        traces = record(nn.Sequential(layer), torch.randn(1, 1, 3, 4))
        with pytest.raises(UnknownLayerError) as problem:
            backproject(traces, traces[-1].output)
        assert str(problem.value).endswith("into one at its input.")
