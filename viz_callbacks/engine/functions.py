"""Which layer a function or an operator in a forward is: ``x + y``, ``torch.cat``, ``F.max_pool2d(x, 2)``.

A function that does what one of torch's layers does is that layer. The others are of the kinds in ``function_layers``.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from viz_callbacks.engine.expressions import OPERATORS, Expression, Value, parts_of, plain_name, values_of
from viz_callbacks.engine.function_layers import (
    Add,
    Concatenate,
    DenseFunction,
    Function,
    GroupNormFunction,
    InstanceNormFunction,
    LayerNormFunction,
    LinearFunction,
    PlaceByPlace,
    Product,
)


def _clamp(min: float | None = None, max: float | None = None) -> nn.Module:
    return nn.Hardtanh(-math.inf if min is None else min, math.inf if max is None else max)


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Module:
    return nn.Flatten(start_dim, end_dim)


def _identity(p: float = 0.0, mode: str = "") -> nn.Module:
    return nn.Identity()


LAYERS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "relu": (nn.ReLU, "inplace"),
    "relu6": (nn.ReLU6, "inplace"),
    "hardtanh": (nn.Hardtanh, "min_val max_val inplace"),
    "clamp": (_clamp, "min max"),
    "clip": (_clamp, "min max"),
    "threshold": (nn.Threshold, "threshold value inplace"),
    "leaky_relu": (nn.LeakyReLU, "negative_slope inplace"),
    "rrelu": (nn.RReLU, "lower upper training inplace"),
    "elu": (nn.ELU, "alpha inplace"),
    "celu": (nn.CELU, "alpha inplace"),
    "selu": (nn.SELU, "inplace"),
    "gelu": (nn.GELU, "approximate"),
    "silu": (nn.SiLU, "inplace"),
    "mish": (nn.Mish, "inplace"),
    "hardswish": (nn.Hardswish, "inplace"),
    "hardsigmoid": (nn.Hardsigmoid, "inplace"),
    "sigmoid": (nn.Sigmoid, ""),
    "logsigmoid": (nn.LogSigmoid, ""),
    "tanh": (nn.Tanh, ""),
    "tanhshrink": (nn.Tanhshrink, ""),
    "softsign": (nn.Softsign, ""),
    "softplus": (nn.Softplus, "beta threshold"),
    "softshrink": (nn.Softshrink, "lambd"),
    "hardshrink": (nn.Hardshrink, "lambd"),
    "softmax": (nn.Softmax, "dim _stacklevel dtype"),
    "log_softmax": (nn.LogSoftmax, "dim _stacklevel dtype"),
    "glu": (nn.GLU, "dim"),
    "max_pool1d": (nn.MaxPool1d, "kernel_size stride padding dilation ceil_mode return_indices"),
    "max_pool2d": (nn.MaxPool2d, "kernel_size stride padding dilation ceil_mode return_indices"),
    "max_pool3d": (nn.MaxPool3d, "kernel_size stride padding dilation ceil_mode return_indices"),
    "avg_pool2d": (nn.AvgPool2d, "kernel_size stride padding ceil_mode count_include_pad divisor_override"),
    "lp_pool2d": (nn.LPPool2d, "norm_type kernel_size stride ceil_mode"),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d, "output_size return_indices"),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d, "output_size return_indices"),
    "adaptive_max_pool3d": (nn.AdaptiveMaxPool3d, "output_size return_indices"),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d, "output_size"),
    "local_response_norm": (nn.LocalResponseNorm, "size alpha beta k"),
    "flatten": (_flatten, "start_dim end_dim"),
    "dropout": (nn.Dropout, "p training inplace"),
    "dropout1d": (nn.Dropout1d, "p training inplace"),
    "dropout2d": (nn.Dropout2d, "p training inplace"),
    "dropout3d": (nn.Dropout3d, "p training inplace"),
    "alpha_dropout": (nn.AlphaDropout, "p training inplace"),
    "feature_alpha_dropout": (nn.FeatureAlphaDropout, "p training inplace"),
    "stochastic_depth": (_identity, "p mode training"),
}
"""The layer that does what a function does, by the function's name, and the names of the arguments after the first."""

DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "stochastic_depth"}

WITH_WEIGHTS = {
    "linear": DenseFunction,
    "layer_norm": LayerNormFunction,
    "group_norm": GroupNormFunction,
    "instance_norm": InstanceNormFunction,
}
"""Functions with a kind of their own, since they go back by more than their adjoint."""

LINEAR_TOGETHER = {"add", "sub", "rsub", "cat", "concat", "concatenate", "stack", "hstack", "vstack"}
"""Functions that are linear in all their values together."""

LINEAR_ALONE = {
    "getitem", "chunk", "split", "tensor_split", "unbind", "select", "narrow", "view", "reshape", "flatten",
    "unflatten", "view_as", "reshape_as", "squeeze", "unsqueeze", "permute", "transpose", "swapaxes", "movedim", "expand",
    "expand_as", "repeat",
    "repeat_interleave", "roll", "flip", "contiguous", "clone", "to", "type", "type_as", "float", "double", "half",
    "bfloat16", "pad", "mean", "sum", "neg", "pos", "interpolate", "upsample", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "mul", "multiply", "div", "truediv", "divide", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "linear", "batch_norm", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
}  # fmt: skip
"""Functions that are linear in the one value that they take, whatever else they take; of a division that is the dividend."""

SHAPED_AS = {"view_as", "reshape_as", "expand_as", "type_as", "to"}
"""Those of them that take the shape, or the type, of a second value."""

JOINING = {"cat", "concat", "concatenate", "stack", "hstack", "vstack"}
"""Functions of several values that change the shape."""

PLACE_BY_PLACE = {
    "batch_norm", "mul", "multiply", "div", "truediv", "divide", "neg", "pos", "contiguous", "clone", "to", "type", "float",
    "double", "half", "bfloat16",
}  # fmt: skip
"""Functions that, applied to one value, look at each place by itself."""

MULTIPLE = {"chunk", "split", "tensor_split", "unbind"}
"""Functions that give several tensors; what takes one of them is a layer with the function in it."""

BOUNDED = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Softmax)
"""Activations that gates come from, where two branches are multiplied."""

SPREADING = {
    "view", "reshape", "view_as", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as", "repeat",
    "permute", "transpose", "getitem", "contiguous", "interpolate", "upsample",
}  # fmt: skip
"""Functions that may stand between such an activation and the product."""

SPREADING_LAYERS = (nn.Upsample, nn.Flatten, nn.Unflatten, nn.Identity)

Layers = Mapping[str, tuple[nn.Module, tuple[str, ...]]]
"""Layers by name, each with the names of those whose outputs it takes."""


def layer_of(expression: Expression, came_from: Callable[[str], set[str]], layers: Layers) -> nn.Module:
    """Return the layer that does what an expression does.

    Args:
        expression: takes at least one value.
        came_from: gives the names of all layers that a layer's output depends on.
        layers: those before it.
    """
    return _torchs_layer(expression) or _kind_of_function(expression, came_from, layers)


def shape_alone(argument: object) -> object:
    """Return an argument of which a function takes the shape and the type, and none of the numbers."""
    return Expression(torch.empty_like, (argument,), {}, is_size=True) if values_of(argument, within_sizes=False) else argument


def _torchs_layer(expression: Expression) -> nn.Module | None:
    """Return the layer of torch's that does the same; None where there is none, or where an argument isn't constant."""
    if expression.name not in LAYERS or not expression.arguments:
        return None
    make, names = LAYERS[expression.name]
    first, *others = expression.arguments
    if not isinstance(first, Value) or len(others) > len(names.split()):
        return None
    options = {**dict(zip(names.split(), others, strict=False)), **expression.options}
    if any(True for _ in parts_of(options)):
        return None
    if expression.name in DROPOUTS and options.get("training", True):
        return None  # it drops whether the network is training or not
    if options.pop("return_indices", False) or options.pop("dtype", None) is not None:
        return None
    for name in ("inplace", "training", "_stacklevel"):
        options.pop(name, None)
    return make(**options).eval()


def _kind_of_function(expression: Expression, came_from: Callable[[str], set[str]], layers: Layers) -> Function:
    name, carried = expression.name, values_of(expression, within_sizes=False)
    operands = expression.arguments
    plain = not expression.options and len(operands) == 2 and all(isinstance(each, Value) for each in operands)
    if name == "add" and plain and len(carried) == 2:
        return Add(expression)
    if name in ("mul", "multiply") and plain and len(carried) == 2:
        one, other = carried
        gate = _gate_of(one, other, came_from, layers)
        return Function(expression) if gate is None else Product(expression, gate)
    if name in ("cat", "concat", "concatenate") and (joined := _joined(expression)) is not None:
        return Concatenate(expression, joined)
    if name in WITH_WEIGHTS and len(values_of(expression)) == 1 and operands and isinstance(operands[0], Value):
        return WITH_WEIGHTS[name](expression)
    if (name in PLACE_BY_PLACE or name in LINEAR_TOGETHER - JOINING) and _takes_one_value(expression):
        return PlaceByPlace(expression)
    if name in LINEAR_TOGETHER or (name in LINEAR_ALONE and _takes_one_value(expression)):
        return LinearFunction(expression)
    return Function(expression)


def _joined(expression: Expression) -> int | None:
    """Return the dimension along which different values are joined; None where anything else is among them."""
    tensors, *others = expression.arguments
    dimension = [*others, *expression.options.values(), 0][0]
    if not isinstance(tensors, list | tuple) or not all(isinstance(each, Value) for each in tensors):
        return None
    different = len(set(tensors)) == len(tensors)
    return dimension if different and isinstance(dimension, int) else None


def _takes_one_value(expression: Expression) -> bool:
    """Return whether an expression is linear in the only value that it takes."""
    if expression.name == "batch_norm" and _training_of(*expression.arguments, **expression.options):
        return False
    either = expression.name in ("mul", "multiply") or expression.name in LINEAR_TOGETHER
    factors = expression.arguments if either else expression.arguments[:1]
    elsewhere = (expression.arguments[len(factors) :], dict(expression.options))
    taken = [part for part in parts_of(factors, within_sizes=False) if isinstance(part, Value)]
    inner = [each for each in factors if isinstance(each, Expression) and not each.is_size and values_of(each)]
    return (
        len(taken) == 1
        and not values_of(elsewhere, within_sizes=False)
        and all(each.name in LINEAR_ALONE and _takes_one_value(each) for each in inner)
    )


def _training_of(
    input: object, mean: object = None, variance: object = None, weight: object = None, bias: object = None,
    training: object = False, momentum: object = None, eps: object = None, running_mean: object = None,
    running_var: object = None,
) -> bool:  # fmt: skip
    """Return whether F.batch_norm, called with these arguments, takes the statistics of its input."""
    return training is not False


def _gate_of(one: str, other: str, came_from: Callable[[str], set[str]], layers: Layers) -> int | None:
    """Return which of two factors, 0 or 1, is the gate: the one computed from the other, or else the bounded one."""
    if one in came_from(other):
        return 1
    if other in came_from(one):
        return 0
    bounded = [_is_bounded(name, layers) for name in (one, other)]
    return bounded.index(True) if sum(bounded) == 1 else None


def _is_bounded(name: str, layers: Layers) -> bool:
    """Return whether a value comes from a bounded activation, spread out or in another shape."""
    if name not in layers:  # the images
        return False
    layer, sources = layers[name]
    is_function = isinstance(layer, LinearFunction) and layer.carried == 1 and layer.expression.name in SPREADING
    if is_function or isinstance(layer, SPREADING_LAYERS):
        return _is_bounded(sources[0], layers)
    return isinstance(layer, BOUNDED)


def works_in_place(function: Callable[..., object] | str, arguments: Sequence[object], options: Mapping[str, object]) -> bool:
    """Return whether a function writes its result over its first argument.

    >>> works_in_place("relu_", [], {}), works_in_place(nn.functional.relu, ["x", True], {})
    (True, True)
    """
    if not isinstance(function, str) and function in OPERATORS:
        return True
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    names = LAYERS[plain_name(function)][1].split() if plain_name(function) in LAYERS else []
    given = {**dict(zip(names, arguments[1:], strict=False)), **options}
    return (name.endswith("_") and not name.endswith("__")) or given.get("inplace") is True
