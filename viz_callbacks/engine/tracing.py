"""A module's own forward, read as a list of layers: one takes the images, each next one what the layer before it gave.

The forward is followed once with a stand-in for the images that has no numbers (torch.fx), so nothing is computed and the
module stays as it was. The modules that it calls stay closed here: whoever wants to see into one follows that in turn. What
makes a forward no list of layers, such as a rectifier that is a function or a shortcut around a block, is named in the error.
"""

import copy
import inspect
from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor, fx, nn

LAYERS = {name.lower(): kind for name, kind in vars(nn).items() if inspect.isclass(kind) and issubclass(kind, nn.Module)}
LAYERS |= {"view": nn.Flatten, "reshape": nn.Flatten, "squeeze": nn.Flatten, "mean": nn.AdaptiveAvgPool2d}
"""The layer that does what a function does, by the function's name without underscores."""

MODULE_ALIASES = {"torch.nn.functional": "F", "torch._C._nn": "F", "_operator": "operator"}
"""What people call the modules that functions come from."""


class UntraceableError(TypeError):
    """A forward isn't a list of layers; the message says where it stops being one, and what to do."""


def trace_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that the module's forward runs when evaluating, whatever its mode: the same objects, in order, named.

    Names are dotted where one lies in another. One that is used again comes again, as ``relu_1``. Flattening by a function
    comes as an nn.Flatten named ``flatten``.

    >>> trace_layers(nn.Sequential(nn.Tanh(), nn.Flatten()))
    [('0', Tanh()), ('1', Flatten(start_dim=1, end_dim=-1))]

    Raises:
        UntraceableError: it calls any other function, uses a value twice, or can't be followed.
    """
    try:
        evaluating = copy.copy(module)  # its modules are the module's own
        evaluating.training = False
        with torch.random.fork_rng(devices=[]):
            graph = _LeafTracer().trace(_SingleInput(evaluating))
    except Exception as problem:  # a forward may do anything with a value that has no numbers
        raise UntraceableError(
            f"The forward of a {type(module).__name__} can't be followed from layer to layer ({problem}): "
            "build an nn.Sequential of its layers, in the order they run, and use that."
        ) from problem
    return list(_layers_along(graph, module))


class _SingleInput(nn.Module):
    """Calls a module with one value, so that further arguments of its forward keep their defaults."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, value: Tensor) -> Tensor:
        output: Tensor = self.module.forward(value)
        return output


class _LeafTracer(fx.Tracer):
    """Leaves all modules closed."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _layers_along(graph: fx.Graph, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    kind = type(module).__name__
    own = {name for name, _ in module.named_modules()}
    used: set[str] = set()
    value: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "placeholder":
            value = node
        if node.op in ("placeholder", "get_attr") or _is_size(node):
            continue
        if node.op == "output":
            if node.args == (value,):
                return
            raise UntraceableError(
                f"The forward of a {kind} gives back something else than the output of its last layer: let it give back "
                "that alone, or build an nn.Sequential of its layers and use that."
            )
        values = [each for each in node.all_input_nodes if each.op != "get_attr" and not _is_size(each)]
        if earlier := [each for each in values if each is not value]:
            raise UntraceableError(
                f"The forward of a {kind} uses a value twice: {_output_of(earlier[0])} goes into {_qualified_name(node)} too. "
                "With shortcuts it isn't a list of layers: look at those before the shortcut alone, as an nn.Sequential."
            )
        if node.op == "call_module" and [*node.args, *node.kwargs.values()] == [value]:
            path = _path(node)
            name = path if path not in used else _unused_name(path, used | own)
            part = module.get_submodule(path)
        elif _flattens(node):
            name, part = _unused_name("flatten", used | own), nn.Flatten()
        else:
            raise UntraceableError(
                f"The forward of a {kind} calls {_qualified_name(node)} on {_output_of(value)}: "
                f"make it a layer, {_layer_for(node)}."
            )
        used.add(name)
        yield name, part
        value = node


def _unused_name(name: str, used: set[str]) -> str:
    return name if name not in used else next(other for i in count(1) if (other := f"{name}_{i}") not in used)


# --- What a node does ---------------------------------------------------------------------------------------------------------


def _path(node: fx.Node) -> str:
    return str(node.target).removeprefix("module.")


def _function(node: fx.Node) -> str:
    """Return the name of the function or method that a node calls, '' for a module."""
    if node.op == "call_module":
        return ""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _is_shape(node: object) -> bool:
    """Return whether it is x.shape or x.size()."""
    if not isinstance(node, fx.Node):
        return False
    return (_function(node), node.args[1:]) in [("size", ()), ("getattr", ("shape",))]


def _is_size(node: fx.Node) -> bool:
    """Return whether a node is about a value's shape alone: x.shape, x.size(), x.size(0), and what is computed from these."""
    if _is_shape(node) or _function(node) == "size":
        return True
    return bool(node.all_input_nodes) and all(_is_size(each) for each in node.all_input_nodes)


def _is_batch_size(size: object) -> bool:
    """Return whether it is x.size(0), x.shape[0] or x.size()[0]. Any x will do: no layer changes the number of images."""
    if not isinstance(size, fx.Node) or size.args[1:] != (0,):
        return False
    return _function(size) == "size" or (_function(size) == "getitem" and _is_shape(size.args[0]))


def _flattens(node: fx.Node) -> bool:
    """Return whether a node does what nn.Flatten() does."""
    if _function(node) == "flatten":
        return _dimensions(*node.args, **node.kwargs) == (1, -1)
    if _function(node) not in ("view", "reshape") or node.kwargs:
        return False
    sizes = node.args[1] if isinstance(node.args[1], tuple | list) else node.args[1:]
    match sizes:
        case (images, int()):  # -1 would mix the images if their sizes weren't the expected ones; nn.Flatten can't
            return bool(images == -1) or _is_batch_size(images)
    return False


def _dimensions(input: object, start_dim: object = 0, end_dim: object = -1) -> tuple[object, object]:
    """Return the first and last dimension that torch.flatten and Tensor.flatten read from their arguments."""
    return start_dim, end_dim


# --- Messages -----------------------------------------------------------------------------------------------------------------


def _qualified_name(node: fx.Node) -> str:
    if node.op == "call_module":
        return repr(_path(node))
    if node.op == "call_method":
        return f".{node.target}()"
    module = getattr(node.target, "__module__", "")
    return f"{MODULE_ALIASES.get(module, module)}.{_function(node)}"


def _output_of(node: fx.Node | None) -> str:
    return "its input" if node is None or node.op == "placeholder" else f"the output of {_qualified_name(node)}"


def _layer_for(node: fx.Node) -> str:
    """Return the layer that stands for what a node calls, with dots where it needs arguments."""
    kind = LAYERS.get(_function(node).replace("_", ""))
    if kind is None:
        return "a module of its own that takes one value, with its rule in BACKWARD_RULES"
    needed = any(argument.default is argument.empty for argument in inspect.signature(kind).parameters.values())
    return f"nn.{kind.__name__}({'...' if needed else ''})"


def is_from_torch(module: nn.Module) -> bool:
    """Return whether a module's type is one of torch's own layers."""
    return type(module).__module__.startswith("torch.nn.")


def explain_opaque(layer: nn.Module) -> str:
    """Return why a layer made of modules couldn't be opened up, and what to do; '' for one without modules or of torch's."""
    if any(True for _ in layer.children()) and not is_from_torch(layer):
        try:
            trace_layers(layer)
        except UntraceableError as problem:
            return f" {problem}"
    return ""
