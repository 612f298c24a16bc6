"""Copies of networks and layers that can be run without the original noticing."""

import copy
from collections.abc import Iterator

import torch
from torch import nn


def eval_copy(layer: nn.Module, keep_in_place: bool = False) -> nn.Module:
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
    twin = _without_compiled(copy.deepcopy(layer, shared))
    for module in twin.modules():
        module.training = False  # not eval(): one of somebody's own might change the weights, which are shared
        if "inplace" in vars(module) and not keep_in_place:
            vars(module)["inplace"] = False
        # Private, since nothing public undoes nn.Module.compile(); the copy of a parametrised module would run the original.
        vars(module).pop("_compiled_call_impl", None)
    return twin


def _without_compiled(module: nn.Module) -> nn.Module:
    """Put in the place of each part of a module that ``torch.compile`` wrapped what it wrapped: it would compile anew."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if (inner := dict(child.named_children()).get("_orig_mod")) is not None and not has_hooks(child):
                setattr(parent, name, inner)
    return module


def _attributes(module: nn.Module) -> Iterator[object]:
    """Yield what a module holds; of dicts, such as those of parameters, buffers and hooks, what these hold."""
    if isinstance(module, torch.jit.ScriptModule):  # holds a program, with flags that a copy must have for itself
        return
    for value in vars(module).values():
        yield from value.values() if isinstance(value, dict) else (value,)


def has_hooks(module: nn.Module) -> bool:
    """Return whether functions of others run before or after a module's forward.

    >>> has_hooks(nn.ReLU())
    False
    """
    state = vars(module)  # private names, since nothing public tells
    return bool(state["_forward_hooks"] or state["_forward_pre_hooks"])
