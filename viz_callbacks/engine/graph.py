"""A network as a graph of layers: each takes the images or what layers before it gave.

What torch.fx writes down of a forward are modules, functions, parameters and sizes. Modules and functions of values that come
from the images are layers; all else is a part of what a function is applied to.
"""

import threading
import weakref
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, cast

import torch
from torch import fx, nn

from viz_callbacks.engine.backward import BACKWARD_RULES
from viz_callbacks.engine.copies import eval_copy
from viz_callbacks.engine.expressions import Attribute, Expression, Value, plain_name, values_of
from viz_callbacks.engine.function_layers import Function
from viz_callbacks.engine.functions import MULTIPLE, SHAPED_AS, layer_of, shape_alone, works_in_place
from viz_callbacks.engine.layer_trace import IMAGES
from viz_callbacks.engine.registry import known_kind
from viz_callbacks.engine.rules.norms import last_softmax
from viz_callbacks.engine.tracing import LayerTracer, SingleInput, UntraceableError, is_layer, reason_of, unwrapped


@dataclass(frozen=True, eq=False)
class Node:
    """One layer in a network's graph.

    Attributes:
        name: its dotted path in the network; of a function the name that torch.fx gives it.
        layer: the network's own, or the one that does what a function does.
        sources: the names of the layers whose outputs it takes, ``IMAGES`` for the images.
        arguments: what the layer is called with, by position and by name.
        closed: why it can't be walked back, if no rule is known: what in it couldn't be followed.
    """

    name: str
    layer: nn.Module
    sources: tuple[str, ...]
    arguments: tuple[tuple[object, ...], dict[str, object]]
    closed: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """A network's layers, in the order they run.

    Attributes:
        nodes: of the layers.
        is_list: whether the network is nothing but nn.Sequentials of layers.
    """

    nodes: tuple[Node, ...]
    is_list: bool


def trace_network(network: nn.Module) -> Graph:
    """Return the graph of the layers that a network runs when evaluating, whatever its mode.

    Layers are the network's own objects. One that is used again comes again, as ``relu_1``. Wrappers are taken off. The graph
    is kept for as long as the network is the same: its modules, their simple attributes, and the known types of layers.

    >>> [(node.name, node.sources) for node in trace_network(nn.Sequential(nn.Tanh(), nn.Flatten())).nodes]
    [('0', ('',)), ('1', ('0',))]

    Raises:
        UntraceableError: the network can't be followed, gives back something else than one tensor, or is a single layer.
    """
    network = unwrapped(network)
    if is_layer(network):
        raise UntraceableError(
            f"A network is walked layer by layer, so it must be an nn.Sequential or another module with a forward that runs "
            f"layers, not a {type(network).__name__}: wrap it, or its parts, in nn.Sequential."
        )
    signature = _signature(network)
    with _lock:
        known = _graphs.get(network)
        if known is None or known[0] != signature:
            known = signature, _GraphBuilder(network).build()
            _graphs[network] = known
    return known[1]


_lock = threading.RLock()
_graphs: weakref.WeakKeyDictionary[nn.Module, tuple[object, Graph]] = weakref.WeakKeyDictionary()


def _signature(network: nn.Module) -> object:
    """Return all that a forward is likely to depend on besides its input and its weights."""
    modules = [
        (name, id(module), type(module), [(key, _mark(value)) for key, value in vars(module).items() if key != "training"])
        for name, module in network.named_modules(remove_duplicate=False)
    ]
    return modules, list(BACKWARD_RULES)


def _mark(value: object) -> object:
    """Return a setting, such as a size or a switch; of anything else only which object it is."""
    parts = value if isinstance(value, tuple) else (value,)
    return value if all(isinstance(part, bool | int | float | str | None) for part in parts) else id(value)


# --- From torch.fx to layers --------------------------------------------------------------------------------------------------


class _GraphBuilder:
    """Makes a graph of layers from what torch.fx writes down."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.kind = type(network).__name__
        self.copy = SingleInput(eval_copy(network))
        self.paths = {name for name, _ in network.named_modules()}
        self.nodes: list[Node] = []
        self.known: dict[fx.Node, object] = {}  # what each node of torch.fx is: a value, an attribute or an expression
        self.ancestors: dict[str, set[str]] = {IMAGES: set()}

    def build(self) -> Graph:
        tracer = LayerTracer(self.copy.module)
        try:
            with torch.random.fork_rng(devices=[]):
                graph = tracer.trace(self.copy)
        except Exception as problem:  # a forward may do anything with a value that has no numbers
            raise UntraceableError(
                f"The forward of a {self.kind} can't be followed from layer to layer ({reason_of(problem)}): build an "
                "nn.Sequential of its layers, in the order they run, or of those before this place, and use that."
            ) from problem
        for node in graph.nodes:
            match node.op:
                case "placeholder":
                    self.known[node] = Value(IMAGES)
                case "get_attr":
                    self.known[node] = self._attribute(str(node.target))
                case "call_module":
                    self._add_module(node, tracer.closed.get(str(node.target), ""))
                case "output":
                    (output,) = node.args
                    return Graph(self._up_to(self.known[output] if isinstance(output, fx.Node) else None), tracer.is_list)
                case _:
                    self._add_function(node)
        raise AssertionError("a graph of torch.fx ends in its output")

    def _up_to(self, output: object) -> tuple[Node, ...]:
        names = [node.name for node in self.nodes]
        if isinstance(output, Value) and output.name in names:
            *before, last = self.nodes[: names.index(output.name) + 1]
            return (*map(_without_inner_softmax, before), last)
        if output == Value(IMAGES) and not names:
            return ()
        raise UntraceableError(
            f"The forward of a {self.kind} gives back something else than the output of one of its layers: let it give back "
            "that alone, or wrap it in a module that does."
        )

    def _attribute(self, path: str) -> object:
        """Return a tensor that a module of the network holds; one that was computed while following is a constant."""
        owner, _, name = path.rpartition(".")
        if path.startswith("module"):
            own = self.network.get_submodule(owner.removeprefix("module").removeprefix("."))
            if hasattr(own, name):
                return Attribute(weakref.ref(own), name)
        return getattr(self.copy.get_submodule(owner), name)

    def _add_module(self, node: fx.Node, closed: str) -> None:
        path = str(node.target)
        layer = unwrapped(self.network.get_submodule(path))
        arguments = self._translated(node)
        given = [*arguments[0], *arguments[1].values()]
        if not all(isinstance(each, Value) for each in given):
            closed = f" It is called with more than values, which its rule wouldn't know.{closed}"
        used = {each.name for each in self.nodes}
        name = path if path not in used else _unused(path, used | self.paths)
        self._add(name, layer, values_of(arguments), arguments, closed)
        self.known[node] = Value(name)
        if getattr(layer, "inplace", False):
            self._overwrite(node)

    def _add_function(self, node: fx.Node) -> None:
        arguments, options = self._translated(node)
        inputs = [self.known[each] for each in node.all_input_nodes]
        is_size = _asks_for_shape(node) or (bool(inputs) and all(isinstance(e, Expression) and e.is_size for e in inputs))
        function: Any = node.target
        in_place = works_in_place(function, arguments, options)
        if plain_name(function) in SHAPED_AS:
            arguments = (arguments[0], *map(shape_alone, arguments[1:]))
            options = {name: shape_alone(each) for name, each in options.items()}
        expression = Expression(function, arguments, options, is_size, in_place)
        self.known[node] = expression
        unused = not node.users and not expression.in_place
        if is_size or unused or not values_of(expression) or self._gives_several(expression):
            return
        before = {each.name: (each.layer, each.sources) for each in self.nodes}
        layer = layer_of(expression, self.ancestors.__getitem__, before)
        sources = list(layer.sources) if isinstance(layer, Function) else values_of(expression)
        closed = f" The forward calls {_qualified_name(node)} on {_outputs(sources)}." if type(layer) is Function else ""
        used = {each.name for each in self.nodes} | self.paths
        name = node.name if node.name not in used else _unused(node.name, used)
        self._add(name, layer, sources, (tuple(map(Value, sources)), {}), closed)
        self.known[node] = Value(name)
        if expression.in_place:
            self._overwrite(node)

    def _add(
        self,
        name: str,
        layer: nn.Module,
        sources: list[str],
        arguments: tuple[tuple[object, ...], dict[str, object]],
        closed: str,
    ) -> None:
        self.nodes.append(Node(name, layer, tuple(sources), arguments, closed))
        self.ancestors[name] = set(sources).union(*(self.ancestors[source] for source in sources))

    def _overwrite(self, node: fx.Node) -> None:
        """Let all that later takes the value which a layer has overwritten take that layer's output, as the network does."""
        if node.args and isinstance(node.args[0], fx.Node):
            before, after = self.known[node.args[0]], self.known[node]
            self.known.update(
                {each: after for each, value in self.known.items() if isinstance(value, Value) and value == before}
            )

    def _translated(self, node: fx.Node) -> tuple[tuple[object, ...], dict[str, object]]:
        arguments = fx.node.map_arg((node.args, node.kwargs), lambda each: cast(Any, self.known[each]))
        return cast(tuple[tuple[object, ...], dict[str, object]], arguments)

    def _gives_several(self, expression: Expression) -> bool:
        """Return whether an expression is several tensors, such as ``x.chunk(2)`` or the first two of ``x.unbind()``."""
        if expression.name == "getitem" and isinstance(expression.arguments[1], slice):
            several = expression.arguments[0]
            return isinstance(several, Expression) and self._gives_several(several)
        return expression.name in MULTIPLE


def _without_inner_softmax(node: Node) -> Node:
    """Close a softmax that isn't the last layer: its rule is to be passed over, as it is where a network ends in it."""
    kind = known_kind(node.layer)
    if kind is None or BACKWARD_RULES[kind] is not last_softmax:
        return node
    return replace(node, closed=" It isn't the last layer, where it would be passed over.")


def _unused(name: str, used: set[str]) -> str:
    return next(other for i in count(1) if (other := f"{name}_{i}") not in used)


def _asks_for_shape(node: fx.Node) -> bool:
    """Return whether a node is about a value's shape or type alone: x.shape, x.size(0), x.device, torch.zeros_like(x)."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel", "new_zeros", "new_ones")
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim", "dtype", "device")
    return node.target in (torch.zeros_like, torch.ones_like)


# --- Messages -----------------------------------------------------------------------------------------------------------------

MODULE_ALIASES = {"torch.nn.functional": "F", "torch._C._nn": "F", "_operator": "operator"}
"""What people call the modules that functions come from."""


def _qualified_name(node: fx.Node) -> str:
    if node.op == "call_method":
        return f".{node.target}()"
    module = getattr(node.target, "__module__", "")
    return f"{MODULE_ALIASES.get(module, module)}.{getattr(node.target, '__name__', node.target)}"


def _outputs(names: list[str]) -> str:
    return " and ".join("the images" if name == IMAGES else f"the output of {name!r}" for name in names)
