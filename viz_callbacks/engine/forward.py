"""The way down: run a network as a graph of named layers and keep what going back needs.

Nothing here uses autograd, so it runs under ``torch.inference_mode`` too, and leaves no gradients, hooks or changed modes.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from viz_callbacks.engine.backward import BACKWARD_RULES
from viz_callbacks.engine.copies import eval_copy, has_hooks
from viz_callbacks.engine.expressions import computed
from viz_callbacks.engine.function_layers import Function
from viz_callbacks.engine.graph import Graph, Node, trace_network
from viz_callbacks.engine.layer_trace import IMAGES, LayerTrace
from viz_callbacks.engine.needed_values import needed_values, without_values
from viz_callbacks.engine.registry import are_close, departs, has_own_forward, known_kind
from viz_callbacks.engine.tracing import unwrapped

MAX_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
"""Layers that leave switches."""


class RecordingError(RuntimeError):
    """What was recorded isn't what the network computes; the message says where, and what to do."""


def record(network: nn.Module, images: Tensor, until: str | None = None, keep: Collection[str] = ()) -> list[LayerTrace]:
    """Run the network as if evaluating, whatever its mode, and keep what the way back needs of each layer.

    That is the shapes, the switches, the feature maps, and the numbers at which a rule looks, such as a gate's. Other numbers,
    such as those before an activation, are let go while the network runs. The modules' modes, running statistics and random
    numbers stay untouched. Unless the network is an nn.Sequential of layers, the output for the first image is compared with
    the network's own.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2))
    >>> [(trace.name, tuple(trace.output.shape)) for trace in record(network, torch.randn(2, 3, 33, 33))]
    [('0', (2, 4, 15, 15)), ('1', (2, 4, 15, 15)), ('2', (2, 4, 7, 7))]

    Args:
        network: any module that torch.fx can follow from the images to its output.
        images: (N, C, H, W), in the network's own dtype; autocast is off in here.
        until: the name of the layer to stop after; what lies behind it isn't run, and the output is not compared.
        keep: names of layers whose outputs are kept in any case: for rules that ``BACKWARD_RULES`` doesn't have, or to look at.

    Returns:
        A trace of each layer in the order they run. The last one's output is the network's. Inputs and outputs whose numbers
        are let go are tensors on the device ``meta``: they have a shape, and whatever asks for their numbers fails.

    Raises:
        UntraceableError: the network can't be followed.
        RecordingError: the recorded output isn't the network's own, or a hook changes a layer's value.
        ValueError: ``images`` has another shape, or there is no layer ``until`` or one of ``keep``.
    """
    if images.ndim != 4:
        raise ValueError(f"images must be (N, C, H, W), not {tuple(images.shape)}; give a single image as image[None].")
    graph = trace_network(network)
    names = [node.name for node in graph.nodes]
    if missing := [name for name in (*([] if until is None else [until]), *keep) if name not in names]:
        raise ValueError(f"There is no layer {missing[0]!r}; the network has {', '.join(names)}.")
    nodes = graph.nodes[: None if until is None else names.index(until) + 1]
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        traces = _run(nodes, images, keep)
        if until is None:
            _compare(unwrapped(network), graph, traces, images)
    return traces


def named_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers in the order they run, under dotted names. One that is used twice comes twice.

    They are the network's own modules, and for a function the layer that does what it does. A module that can't be opened up
    comes as one layer, and so does one whose type has an entry in ``BACKWARD_RULES``.

    >>> [name for name, _ in named_layers(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU()), nn.Flatten()))]
    ['0.0', '0.1', '1']

    Raises:
        UntraceableError: the network itself can't be followed.
    """
    yield from ((node.name, node.layer) for node in trace_network(network).nodes)


def _run(nodes: Sequence[Node], images: Tensor, keep: Collection[str]) -> list[LayerTrace]:
    """Run layers in their order, letting go of each value that isn't needed once the last layer that takes it has run."""
    values: dict[str, object] = {IMAGES: images}
    needed = needed_values(nodes, keep)
    last_uses = {name: index for index, node in enumerate(nodes) for name in (node.name, *node.sources)}
    let_go: list[list[str]] = [[] for _ in nodes]
    for name, index in last_uses.items():
        if name not in needed:
            let_go[index].append(name)
    ran = []
    for node, names in zip(nodes, let_go, strict=True):
        layer, values[node.name], switches, closed = _run_layer(node, values)
        ran.append((node, layer, switches, closed))
        values.update((name, without_values(_first_tensor(values[name]))) for name in names)
    return [
        LayerTrace(
            node.name,
            layer,
            tuple(_first_tensor(values[source]) for source in node.sources),
            node.sources,
            _first_tensor(values[node.name]),
            switches,
            closed,
        )
        for node, layer, switches, closed in ran
    ]


def _run_layer(node: Node, values: dict[str, object]) -> tuple[nn.Module, object, Tensor | None, str]:
    """Return what a layer's trace needs: the layer, its output, the switches, and why it is closed.

    The output may be several tensors where a layer that is closed gives that.
    """
    layer = node.layer if isinstance(node.layer, Function) else eval_copy(node.layer)
    inputs = tuple(_first_tensor(values[source]) for source in node.sources)
    if isinstance(layer, MAX_POOLS):
        output, switches = _pool(layer, node, inputs[0])
    else:
        arguments, options = computed(node.arguments, values)
        output, switches = layer(*arguments, **options), None
        if has_hooks(layer) and not are_close(_first_tensor(layer.forward(*arguments, **options)), _first_tensor(output)):
            raise _hook_error(node)
    if isinstance(layer, Function) and len(inputs) == 1 and _first_tensor(output) is inputs[0]:
        layer = nn.Identity()  # it takes the first of several tensors
    return layer, output, switches, _closed(node, layer, inputs)


def _pool(layer: nn.Module, node: Node, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return a max pooling's output and its switches."""
    kind = known_kind(layer)
    own_output = layer(value) if has_hooks(layer) or (kind and has_own_forward(layer, kind)) else None
    pool: Any = layer
    pool.return_indices = True
    # The forward of torch's own type: a derived one's may not give switches.
    own_type: Any = next(each for each in MAX_POOLS if isinstance(layer, each))
    output, switches = own_type.forward(pool, value)
    if own_output is not None and not are_close(output, own_output):
        raise _hook_error(node)
    return output, switches


def _first_tensor(value: object) -> Tensor:
    while not isinstance(value, Tensor):
        if not isinstance(value, tuple | list) or not value:
            raise RecordingError(f"A layer gives back a {type(value).__name__} where a tensor is needed.")
        value = value[0]
    return value


def _closed(node: Node, layer: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Return why a layer can't be walked back; '' where its rule will do."""
    kind = known_kind(layer)
    if kind is None or isinstance(layer, Function):
        return node.closed
    if not has_own_forward(layer, kind):
        return node.closed
    if isinstance(layer, MAX_POOLS):
        return ""  # was compared when it ran
    if departs(layer, kind, inputs[0]):
        own = "is not linear" if getattr(BACKWARD_RULES[kind], "own_forward", None) else "gives something else"
        return f" It derives from {kind.__name__}, but has a forward of its own, which {own}."
    return ""


# --- Is it what the network computes? -----------------------------------------------------------------------------------------


def _compare(network: nn.Module, graph: Graph, traces: list[LayerTrace], images: Tensor) -> None:
    """Raise an error where the last output isn't the network's own."""
    layers = {id(module) for node in graph.nodes for module in node.layer.modules()}
    hooked = [name for name, module in network.named_modules() if id(module) not in layers and has_hooks(module)]
    if not traces or (graph.is_list and not hooked):
        return
    output = traces[-1].output
    # The first image will do, but where images depend on each other.
    if not _equal(network, images[:1], output[:1]) and not _equal(network, images, output):
        reasons = ["a value that is overwritten in place", "a random number"]
        if hooked:
            reasons.insert(0, "a hook on " + ", ".join(repr(name) if name else "the network" for name in hooked))
        raise RecordingError(
            f"The layers of a {type(network).__name__} give another output than the network itself, so that pictures would be "
            f"wrong. Look for what its layers don't show: {' or '.join(reasons)}. Remove it, or make a layer of it."
        )


def _equal(network: nn.Module, images: Tensor, output: Tensor) -> bool:
    """Return whether a network gives this output, running as it does when evaluating, with its hooks and in place."""
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        return are_close(output, _first_tensor(eval_copy(network, keep_in_place=True)(images.clone())))


def _hook_error(node: Node) -> RecordingError:
    return RecordingError(
        f"The layer {node.name!r}, a {type(node.layer).__name__}, gives another output when called than its forward does: "
        "a hook changes its value, or a forward of its own. Remove the hook, or make a layer of what it does."
    )
