"""The way down: run a network as a list of named layers and keep what going back needs.

Nothing here uses autograd, so it runs under ``torch.inference_mode`` too, and leaves no gradients, hooks or changed modes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from viz_callbacks.engine.backward import BACKWARD_RULES
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.tracing import UntraceableError, is_torchs_own, trace_layers


def named_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Give the layers in the order they run, under dotted names such as ``features.0``. One that is used twice comes twice.

    An nn.Sequential is opened up, and so is any other module whose forward is a ``chain``, unless its type has an entry in
    ``BACKWARD_RULES``. A part that can't be opened comes as one layer. Raises UntraceableError, a TypeError, where the network can't.
    """
    for name, part in _parts(network):
        try:
            inner = list(named_layers(part))
        except UntraceableError:
            yield name, part
        else:
            yield from ((f"{name}.{further}", layer) for further, layer in inner)


def record(network: nn.Module, images: Tensor) -> list[LayerTrace]:
    """Run the network as if evaluating, whatever its mode, and keep each layer's input, output and switches.

    ``images`` is (N, C, H, W), in the network's own dtype; autocast is off in here. The modules' modes, running statistics and
    random numbers stay untouched. Raises UntraceableError as ``named_layers`` does, ValueError for other shapes.
    """
    if images.ndim != 4:
        raise ValueError(f"images must be (N, C, H, W), not {tuple(images.shape)}; give a single image as image[None].")
    traces: list[LayerTrace] = []
    value = images
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        for name, layer in named_layers(network):
            layer = eval_copy(layer)
            if isinstance(layer, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
                layer.return_indices = True
                output, switches = layer.forward(value)  # not a call: hooks on a pool expect one tensor
                traces.append(LayerTrace(name, layer, value, output, switches))
            else:
                traces.append(LayerTrace(name, layer, value, layer(value)))
            value = traces[-1].output
    return traces


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    only_chains = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    if any(kind in BACKWARD_RULES for kind in type(module).__mro__) or (is_torchs_own(module) and not only_chains):
        raise UntraceableError(
            "A network is walked as a list of layers, so it must be an nn.Sequential or another module that runs layer after "
            f"layer, not a {type(module).__name__}: wrap it, or its parts, in nn.Sequential."
        )
    if only_chains:  # named_children() would leave out the second use of a layer
        return [(name, part) for name, part in module._modules.items() if part is not None]
    return trace_layers(module)


def eval_copy(layer: nn.Module) -> nn.Module:
    """Give a shallow copy, with the same weights and buffers but flags of its own: not training, not in place, not compiled."""
    twin = object.__new__(type(layer))  # copy.copy() refuses layers with parametrizations
    parts = {name: child and eval_copy(child) for name, child in layer._modules.items()}
    vars(twin).update(vars(layer), training=False, _modules=parts, _compiled_call_impl=None)
    if "inplace" in vars(twin):
        vars(twin)["inplace"] = False
    return twin
