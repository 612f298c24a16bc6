"""The way down: what is recorded is what the network computes when evaluating, and the network stays as it was."""

import copy
import itertools
import threading
from typing import cast

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.utils import prune

from tests.viz_callbacks.engine.networks import Residual, every_kind_of_state, every_layer
from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.copies import eval_copy
from viz_callbacks.engine.forward import named_layers, record


@pytest.fixture
def network() -> nn.Sequential:
    return every_kind_of_state()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 23, 23, generator=torch.Generator().manual_seed(1))


def test_record_equals_the_network_itself_when_evaluating(network: nn.Sequential, images: Tensor) -> None:
    network.train()
    traces = record(network, images, keep=every_layer(network))
    for trace, following in itertools.pairwise(traces):
        assert trace.output is following.input
    rectified = [trace for trace in traces if isinstance(trace.layer, nn.ReLU)]
    assert len(rectified) == 3
    for trace in rectified:
        assert (trace.input < 0).any(), "an in-place rectifier has overwritten its record"
        assert torch.equal(trace.output, trace.input.clamp(min=0))
    assert torch.equal(traces[-1].output, network.eval()(images))


def test_a_part_is_recorded_as_in_the_whole(network: nn.Sequential, images: Tensor) -> None:
    whole = record(network, images, keep=every_layer(network))
    part = record(network, images, until=whole[3].name)
    assert [trace.name for trace in part] == [trace.name for trace in whole[:4]]
    assert torch.equal(part[-1].output, whole[3].output)
    with pytest.raises(ValueError, match=r"There is no layer 'conv9'; the network has 0.0, 0.1"):
        record(network, images, until="conv9")


def test_a_network_in_training_is_left_exactly_as_it_was(network: nn.Sequential, images: Tensor) -> None:
    network.train()
    next(iter(network.children())).eval()  # modes may be mixed
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
    traces = record(network, images, keep=every_layer(network))
    before = [trace.output.clone() for trace in traces]
    network.train()(images).sum().backward()
    assert all(torch.equal(trace.output, kept) for trace, kept in zip(traces, before, strict=True))


def test_names_are_dotted_and_a_layer_used_twice_comes_twice() -> None:
    conv, relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
    network = nn.Sequential(nn.Sequential(conv, relu, conv), nn.Sequential(nn.Sequential(relu)))
    assert list(named_layers(network)) == [("0.0", conv), ("0.1", relu), ("0.2", conv), ("1.0.0", relu)]
    assert [trace.name for trace in record(network, torch.randn(1, 3, 6, 6))] == ["0.0", "0.1", "0.2", "1.0.0"]


def test_parts_within_an_own_layer_evaluate_too() -> None:
    block, x = Residual().train(), torch.randn(1, 1, 4, 4)
    traces = record(nn.Sequential(block), x)
    assert [trace.name for trace in traces] == ["0.dropout", "add"]
    assert torch.equal(traces[-1].output, 2 * x)
    assert block.dropout.training


@pytest.mark.parametrize("network", [nn.ReLU(), nn.ModuleList([nn.ReLU()])])
def test_a_network_that_is_a_layer_is_refused_with_the_remedy(network: nn.Module) -> None:
    with pytest.raises(TypeError, match=rf"not a {type(network).__name__}: wrap it, or its parts, in nn.Sequential"):
        record(network, torch.randn(1, 1, 4, 4))


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(N, C, H, W\), not \(1, 6, 6\)"):
        record(nn.Sequential(nn.Conv2d(1, 2, 3)), torch.randn(1, 6, 6))


# --- The copies that are run --------------------------------------------------------------------------------------------------


def with_norms_of_weights() -> list[nn.Module]:
    """Layers whose weights are made of others: by a parametrization, by a hook (as torch did before), by a mask."""
    torch.manual_seed(0)
    parametrized = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3, dtype=torch.float64))
    spectral = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 3, dtype=torch.float64))
    with pytest.warns(FutureWarning, match="weight_norm"):
        hooked: nn.Module = nn.utils.weight_norm(nn.Conv2d(3, 3, 3, dtype=torch.float64))
    whole = nn.Conv2d(3, 3, 3, dtype=torch.float64)
    pruned: nn.Module = prune.l1_unstructured(whole, "weight", 0.5)  # type: ignore[no-untyped-call]  # torch's pruning has no types
    return [parametrized, spectral, hooked, pruned]


def test_pruned_and_normalised_weights_are_those_of_the_forward_pass() -> None:
    network, x = nn.Sequential(*with_norms_of_weights()).train(), torch.randn(1, 2, 11, 11, dtype=torch.float64)
    before = copy.deepcopy(network.state_dict())
    traces = record(network, x)
    value = torch.randn_like(traces[-1].output)
    back = backproject(traces, value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    pixels = x.clone().requires_grad_()
    torch.testing.assert_close(back, torch.autograd.grad(network.eval()(pixels), pixels, value)[0])


def test_a_copy_shares_all_tensors_and_nothing_that_is_set_on_it() -> None:
    for layer in (*with_norms_of_weights(), every_kind_of_state()):
        twin = eval_copy(layer.train())
        own = {name: tensor.data_ptr() for name, tensor in layer.state_dict(keep_vars=True).items()}
        assert {name: tensor.data_ptr() for name, tensor in twin.state_dict(keep_vars=True).items()} == own
        assert list(map(type, twin.modules())) == list(map(type, layer.modules()))
        assert not {id(module) for module in twin.modules()} & {id(module) for module in layer.modules()}
        assert all(module.training for module in layer.modules())
        assert not any(module.training or getattr(module, "inplace", False) for module in twin.modules())


@pytest.mark.slow
@pytest.mark.parametrize("parametrized", [False, True])
def test_compiled_layers_evaluate_too(parametrized: bool) -> None:
    dropout, conv, x = nn.Dropout(0.5), nn.Conv2d(1, 1, 1), torch.randn(1, 1, 6, 6)
    if parametrized:
        conv = nn.utils.parametrizations.weight_norm(conv)
        conv.register_forward_hook(lambda module, inputs, output: None if not module.training else output * 0)
    network = nn.Sequential(dropout, conv).train()
    for layer in network:
        layer.compile(backend="eager")
    assert torch.equal(record(network, x)[-1].output, nn.Sequential(dropout, conv).eval()(x))


class Spy:
    """Hooks that are methods, of an object that bears no copying."""

    def __init__(self) -> None:
        self.seen: list[torch.Size] = []
        self.lock = threading.Lock()

    def look(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(output, Tensor)
        self.seen.append(output.shape)


def test_hooks_of_others_run_as_ever_and_see_one_tensor() -> None:
    spy, network = Spy(), nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Tanh())
    for layer in network:
        layer.register_forward_hook(spy.look)
    record(network, torch.randn(1, 1, 6, 6))
    assert spy.seen == [(1, 1, 4, 4), (1, 1, 2, 2), (1, 1, 2, 2)]


def test_what_a_layer_keeps_for_itself_is_not_copied() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lock, self.notes, self.scale = threading.Lock(), list[int](), torch.ones(1, requires_grad=True) * 2
            self.by_name = {"spy": Spy()}

        def forward(self, x: Tensor) -> Tensor:
            with self.lock:
                self.notes.append(len(x))
                return x * self.scale

    layer = Keeping()
    traces = record(nn.Sequential(nn.Identity(), layer), torch.ones(3, 1, 1, 1))
    assert torch.equal(traces[-1].output, torch.full((3, 1, 1, 1), 2.0))
    assert layer.notes == [3]
    twin = eval_copy(layer)
    assert isinstance(twin, Keeping)
    assert (twin.scale, twin.by_name["spy"]) == (layer.scale, layer.by_name["spy"])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("make", [fx.symbolic_trace, torch.jit.script])
def test_a_network_that_is_a_program_is_copied_too(make: object) -> None:
    assert callable(make)
    network, x = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(4, 2)), torch.randn(2, 1, 2, 2)
    program = make(network.train())
    twin = eval_copy(program)
    torch.testing.assert_close(twin(x), network.eval()(x))
    assert program.training


def test_a_part_that_torch_compile_wrapped_is_copied_as_it_was_before() -> None:
    compiled: list[int] = []

    def backend(graph: fx.GraphModule, inputs: list[Tensor]) -> object:
        compiled.append(1)
        return graph.forward

    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    network = nn.Sequential()
    network.add_module("inner", cast(nn.Module, torch.compile(inner, backend=backend)))
    network.add_module("flatten", nn.Flatten())
    images = torch.randn(2, 3, 8, 8)
    expected = inner(images).flatten(1)
    torch.testing.assert_close(eval_copy(network)(images), expected)
    torch.testing.assert_close(record(network, images)[-1].output, expected)
    assert not compiled
    network(images)
    assert compiled, "the network itself is still compiled"
