"""The way down: run a network as a list of named layers and keep what going back needs.

Nothing here uses autograd, so it runs under ``torch.inference_mode`` too, and leaves no gradients, hooks or changed modes.
"""

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from viz_callbacks.engine.backward import BACKWARD_RULES
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.tracing import UntraceableError, is_from_torch, trace_layers


def record(network: nn.Module, images: Tensor) -> list[LayerTrace]:
    """Run the network as if evaluating, whatever its mode, and keep each layer's input, output and switches.

    The modules' modes, running statistics and random numbers stay untouched.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2))
    >>> [(trace.name, tuple(trace.output.shape)) for trace in record(network, torch.randn(2, 3, 33, 33))]
    [('0', (2, 4, 15, 15)), ('1', (2, 4, 15, 15)), ('2', (2, 4, 7, 7))]

    Args:
        network: an nn.Sequential, or another module that runs layer after layer.
        images: (N, C, H, W), in the network's own dtype; autocast is off in here.

    Raises:
        UntraceableError: the network isn't a list of layers.
        ValueError: ``images`` has another shape.
    """
    return record_layers(named_layers(network), images)


def record_layers(layers: Iterable[tuple[str, nn.Module]], images: Tensor) -> list[LayerTrace]:
    """Run named layers one after another as ``record`` does, such as those of ``layers_up_to``.

    Args:
        layers: names and layers, first to last.
        images: (N, C, H, W).

    Raises:
        ValueError: ``images`` has another shape.
    """
    if images.ndim != 4:
        raise ValueError(f"images must be (N, C, H, W), not {tuple(images.shape)}; give a single image as image[None].")
    traces: list[LayerTrace] = []
    value = images
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        for name, own_layer in layers:
            layer = eval_copy(own_layer)
            if isinstance(layer, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
                layer.return_indices = True
                output, switches = layer.forward(value)  # not a call: hooks on a pool expect one tensor
                traces.append(LayerTrace(name, layer, value, output, switches))
            else:
                traces.append(LayerTrace(name, layer, value, layer(value)))
            value = traces[-1].output
    return traces


def named_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers in the order they run, under dotted names. One that is used twice comes twice.

    An nn.Sequential is opened up, and so is any other module whose forward runs layer after layer, unless its type has an entry
    in ``BACKWARD_RULES``. A part that can't be opened up comes as one layer.

    >>> [name for name, _ in named_layers(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU()), nn.Flatten()))]
    ['0.0', '0.1', '1']

    Raises:
        UntraceableError: the network itself can't be opened up; a TypeError.
    """
    for name, part in _parts(network):
        try:
            inner = list(named_layers(part))
        except UntraceableError:
            yield name, part
        else:
            yield from ((f"{name}.{further}", layer) for further, layer in inner)


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    is_sequential = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    has_rule = any(kind in BACKWARD_RULES for kind in type(module).__mro__)
    if has_rule or (is_from_torch(module) and not is_sequential):
        raise UntraceableError(
            "A network is walked as a list of layers, so it must be an nn.Sequential or another module that runs layer after "
            f"layer, not a {type(module).__name__}: wrap it, or its parts, in nn.Sequential."
        )
    if is_sequential:  # named_children() would leave out the second use of a layer
        named = module.named_modules(remove_duplicate=False)
        return [(name, part) for name, part in named if name and "." not in name]
    return trace_layers(module)


def eval_copy(layer: nn.Module) -> nn.Module:
    """Return a copy with the same weights and buffers but flags of its own: not training, not in place, not compiled.

    Whatever else its modules hold is shared too, hooks among it.

    >>> layer = nn.Dropout(0.5, inplace=True)
    >>> twin = eval_copy(layer)
    >>> layer.training, twin.training, twin.inplace
    (True, False, False)
    """
    modules = list(layer.modules())
    own = {id(module) for module in modules}
    shared = {id(each): each for module in modules for each in _attributes(module) if id(each) not in own}
    twin = copy.deepcopy(layer, shared)
    for module in twin.modules():
        module.training = False  # not eval(): one of somebody's own might change the weights, which are shared
        if "inplace" in vars(module):
            vars(module)["inplace"] = False
        # Private, since nothing public undoes nn.Module.compile(); the copy of a parametrised module would run the original.
        vars(module).pop("_compiled_call_impl", None)
    return twin


def _attributes(module: nn.Module) -> Iterator[object]:
    """Yield what a module holds; of dicts, such as those of parameters, buffers and hooks, what these hold."""
    if isinstance(module, torch.jit.ScriptModule):  # holds a program, with flags that a copy must have for itself
        return
    for value in vars(module).values():
        yield from value.values() if isinstance(value, dict) else (value,)
