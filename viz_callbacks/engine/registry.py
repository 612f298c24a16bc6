"""What the engine knows of each type of layer: its way back, its windows, and whether it makes the feature maps.

All of it hangs on the backward rule, so a type that is given a known rule is known everywhere: after
``BACKWARD_RULES[nn.Threshold] = rectify`` it is an activation for feature maps, receptive fields and single units too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from viz_callbacks.engine.function_layers import Function
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.windows import WindowOf

Back = Tensor | tuple[Tensor | None, ...]
"""What comes back: v', shaped like the layer's input. Of a layer with several inputs one for each, None for nothing."""

BackwardFunction = Callable[[LayerTrace, Tensor], Back]
"""A layer's way back: its trace and v, shaped like its output, give what comes back."""


def always(layer: nn.Module) -> bool:
    """Return True, whatever the layer."""
    return True


def never(layer: nn.Module) -> bool:
    """Return False, whatever the layer."""
    return False


@dataclass(frozen=True, eq=False)
class BackwardRule:
    """A layer's way back, and what else is known of the types of layers that have it.

    Attributes:
        function: the way back.
        window: how such a layer's windows lie on its input; None where they aren't all of one size.
        is_activation: whether it makes a convolution's feature maps.
        before_activation: whether it may stand between a convolution and its activation.
        own_forward: the way back of derived types with a forward of their own; None where none is known.
        needs_values: tells of a layer whether its way back looks at the numbers of its inputs or its output. Where it takes
            their shapes alone, ``record`` keeps no more of them.
    """

    function: BackwardFunction
    window: WindowOf | None = None
    is_activation: bool = False
    before_activation: bool = False
    own_forward: BackwardFunction | None = None
    needs_values: Callable[[nn.Module], bool] = always

    def __call__(self, trace: LayerTrace, value: Tensor) -> Back:
        """Take a value at the layer's output to its input."""
        return self.function(trace, value)

    @property
    def __name__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


BACKWARD_RULES: dict[type[nn.Module], BackwardFunction] = {}
"""The rule of each type of layer, and of the types derived from it. One more entry teaches the engine one more layer."""


def backward_rule(
    *kinds: type[nn.Module],
    window: WindowOf | None = None,
    is_activation: bool = False,
    before_activation: bool = False,
    own_forward: BackwardFunction | None = None,
    needs_values: Callable[[nn.Module], bool] = always,
) -> Callable[[BackwardFunction], BackwardRule]:
    """Register the function below as the rule of these types of layers; the options are those of ``BackwardRule``.

    >>> from viz_callbacks.engine.rules.activations import rectify
    >>> BACKWARD_RULES[nn.ReLU] is rectify
    True
    """

    def register(function: BackwardFunction) -> BackwardRule:
        rule = BackwardRule(function, window, is_activation, before_activation, own_forward, needs_values)
        BACKWARD_RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def known_kind(layer: nn.Module, rules: Mapping[type[nn.Module], BackwardFunction] = BACKWARD_RULES) -> type[nn.Module] | None:
    """Return the type whose rule a layer has: its own, or the nearest that it derives from; None where none is known."""
    return next((kind for kind in type(layer).__mro__ if kind in rules), None)


def what_is_known(layer: nn.Module) -> BackwardRule:
    """Return what is known of a layer's type; of one without a rule, or with a plain function for a rule, that is nothing."""
    kind = known_kind(layer)
    rule = BACKWARD_RULES.get(kind) if kind else None
    return rule if isinstance(rule, BackwardRule) else BackwardRule(rule or _unknown)


def _unknown(trace: LayerTrace, value: Tensor) -> Back:
    raise UnknownLayerError(trace)


# --- Derived types ------------------------------------------------------------------------------------------------------------

WITHOUT_EFFECT = {"extra_repr", "reset_parameters"}
"""Methods that a derived type may have anew and still compute what its parent does."""


def has_own_forward(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a layer may compute something else than the type it derives from.

    >>> has_own_forward(nn.ReLU6(), nn.Hardtanh), has_own_forward(nn.ReLU(), nn.ReLU)
    (False, False)
    """
    derived = type(layer).__mro__[: type(layer).__mro__.index(kind)]
    own = {name for each in derived for name, value in vars(each).items() if callable(value)}
    changed = {name for name in own if hasattr(kind, name) and not name.startswith("__")} - WITHOUT_EFFECT
    return bool(changed) or "forward" in vars(layer)


def departs(layer: nn.Module, kind: type[nn.Module], value: Tensor) -> bool:
    """Return whether a layer with a forward of its own computes something else than ``kind``, so that its rule would be wrong.

    Where the rule of ``kind`` has an ``own_forward``, the layer need only be linear but for a constant.

    Args:
        layer: it derives from ``kind``.
        kind: a type with a rule.
        value: what comes into it. A corner of it is looked at, all of it where the layer doesn't take that.
    """
    try:
        return _differs(layer, kind, value[:1, :, :16, :16] if value.ndim == 4 else value)
    except (RuntimeError, TypeError, ValueError, AttributeError):
        try:
            return _differs(layer, kind, value)
        except (RuntimeError, TypeError, ValueError, AttributeError):  # the parent doesn't take it
            return True


def _differs(layer: nn.Module, kind: type[nn.Module], value: Tensor) -> bool:
    rule = BACKWARD_RULES[kind]
    if isinstance(rule, BackwardRule) and rule.own_forward is not None:
        other = 1.7 * value.flip(tuple(range(1, value.ndim)))
        whole = layer.forward(value) + layer.forward(torch.zeros_like(value))
        return not are_close(whole, layer.forward(other) + layer.forward(value - other))
    return not are_close(layer.forward(value), kind.forward(layer, value))


def are_close(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal but for rounding; infinite and missing numbers only where both have them."""
    if one.shape != other.shape or not torch.equal(one.isfinite(), other.isfinite()):
        return False
    rounding = 3 * torch.finfo(one.dtype).eps ** 0.5 if one.is_floating_point() else 0.0
    first, second = (each[each.isfinite()].double() for each in (one, other))
    return bool((first - second).norm() <= rounding * second.norm())


# --- Errors -------------------------------------------------------------------------------------------------------------------


class UnknownLayerError(TypeError):
    """No rule is known for a layer's type; the message says which layer, and how to add one."""

    def __init__(self, trace: LayerTrace) -> None:
        kind = type(trace.layer).__name__
        if isinstance(trace.layer, Function):
            super().__init__(
                f"No backward rule is known for {trace.name!r}.{trace.closed} Make it a module of its own, with its rule in "
                "BACKWARD_RULES."
            )
            return
        super().__init__(
            f"No backward rule is known for the layer {trace.name!r}, a {kind}. Add one: BACKWARD_RULES[{kind}] = "
            f"function(trace, value), which turns a value at the layer's output into one at its input.{trace.closed}"
        )


def rule_for(trace: LayerTrace, rules: Mapping[type[nn.Module], BackwardFunction] = BACKWARD_RULES) -> BackwardFunction:
    """Return the rule of the trace's layer: its own type's, or else that of the nearest type it derives from.

    Raises:
        UnknownLayerError: there is none, or the layer derives from a type that it isn't like.
    """
    kind = known_kind(trace.layer, rules)
    if kind is None or trace.closed:
        raise UnknownLayerError(trace)
    rule = rules[kind]
    if isinstance(rule, BackwardRule) and rule.own_forward is not None and has_own_forward(trace.layer, kind):
        return rule.own_forward
    return rule
