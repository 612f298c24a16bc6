"""A module's own forward, followed down to its layers by torch.fx.

The forward is run once with a stand-in for the images that has no numbers, so nothing is computed and the module stays as it
was. Modules are opened up down to the layers whose backward rule is known, and to those of torch. One that can't be followed
stays closed: it is one layer.

Following patches ``nn.Module.__call__`` for all threads; the calls of other threads pass.
"""

import threading
from collections.abc import Callable, Iterator

from torch import Tensor, fx, nn

from viz_callbacks.engine.backward import BACKWARD_RULES
from viz_callbacks.engine.registry import BackwardRule, known_kind


class UntraceableError(TypeError):
    """A forward isn't a graph of layers; the message says where it stops being one, and what to do."""


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network that ``nn.DataParallel``, ``DistributedDataParallel`` or ``torch.compile`` wrapped, or itself.

    >>> unwrapped(nn.DataParallel(nn.ReLU()))
    ReLU()
    """
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(network.module)
    compiled = dict(network.named_children()).get("_orig_mod")
    return network if compiled is None else unwrapped(compiled)


def is_from_torch(module: nn.Module) -> bool:
    """Return whether a module's type is one of torch's own layers."""
    return type(module).__module__.startswith("torch.nn.")


def is_plain_sequential(module: nn.Module) -> bool:
    """Return whether a module runs its children one after another, and nothing else."""
    return isinstance(module, nn.Sequential) and _runs_forward_of(nn.Sequential, module)


def _runs_forward_of(kind: type[nn.Module], module: nn.Module) -> bool:
    return type(module).forward is kind.forward and "forward" not in vars(module)


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is walked as one layer."""
    kind = known_kind(module)
    if kind is None:
        return is_from_torch(module) and not is_plain_sequential(module)
    rule = BACKWARD_RULES[kind]
    # A derived type with a forward of its own is opened up, if that is possible, unless it only has to be linear.
    return _runs_forward_of(kind, module) or (isinstance(rule, BackwardRule) and rule.own_forward is not None)


# --- Following ----------------------------------------------------------------------------------------------------------------


class SingleInput(nn.Module):
    """Calls a module with one value, so that further arguments of its forward keep their defaults."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, value: Tensor) -> Tensor:
        """Call the module's forward."""
        output: Tensor = self.module.forward(value)
        return output


class LayerTracer(fx.Tracer):
    """Follows a forward into all modules that are no layers, and closes those that can't be followed."""

    proxy_buffer_attributes = True  # a buffer's numbers are those of the day the network is recorded

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._inside: list[tuple[str, nn.Module, Iterator[str]]] = [("", network, iter(_child_names(network)))]
        self.closed: dict[str, str] = {}
        self.is_list = is_plain_sequential(network)

    def call_module(
        self, m: nn.Module, forward: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        """Make a node of a layer, and follow any other module."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        path, m = self._path(m), unwrapped(m)
        if is_layer(m):
            return self.create_proxy("call_module", path, args, kwargs)
        before = len(self.graph.nodes)
        self._inside.append((path, m, iter(_child_names(m))))
        was_list, self.is_list = self.is_list, self.is_list and is_plain_sequential(m)
        try:
            return m.forward(*args, **kwargs)  # not a call: hooks are for numbers
        except Exception as problem:  # a forward may do anything with a value that has no numbers
            for node in reversed(list(self.graph.nodes)[before:]):
                if node.op != "get_attr":  # the tracer knows those by heart
                    self.graph.erase_node(node)
            self.closed[path], self.is_list = f" Its forward can't be followed ({reason_of(problem)}).", was_list
            return self.create_proxy("call_module", path, args, kwargs)
        finally:
            self._inside.pop()

    def getattr(self, attr: str, attr_val: object, parameter_proxy_cache: dict[str, fx.Proxy]) -> object:
        """Make a node of a parameter or buffer that a forward takes."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def _path(self, module: nn.Module) -> str:
        """Return the dotted name of a module that is called."""
        path, parent, children = self._inside[-1]
        if is_plain_sequential(parent):  # the same one may come twice in it
            name = next(children)
        else:
            name = next((name for name, each in parent.named_modules() if each is module and name), "")
        if not name:
            return self.path_of_module(module).removeprefix("module.")
        return f"{path}.{name}" if path else name


def reason_of(problem: Exception) -> str:
    """Return the first line of what an exception says, as a part of a sentence."""
    return (str(problem).splitlines() or [type(problem).__name__])[0].rstrip(".")


def _child_names(module: nn.Module) -> list[str]:
    """Return the names of a module's children; named_children() would leave out the second use of one."""
    return [name for name, _ in module.named_modules(remove_duplicate=False) if name and "." not in name]
