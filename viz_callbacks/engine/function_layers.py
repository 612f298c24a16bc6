"""Functions as layers, of a few kinds: sums, joins, products with a gate, and whatever else is linear in what comes in.

A function of any other kind can be recorded, but has no way back.
"""

from collections.abc import Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from viz_callbacks.engine.expressions import Expression, computed, values_of


class Function(nn.Module):
    """A function as a layer, without a known way back; the kinds below have one.

    Attributes:
        expression: the function and what it is applied to.
        sources: the names of the layers whose outputs it takes, those it only takes the shape of last.
        carried: how many of them bring more than their shape.
    """

    def __init__(self, expression: Expression) -> None:
        super().__init__()
        self.expression = expression
        carried = values_of(expression, within_sizes=False)
        self.sources = (*carried, *(name for name in values_of(expression) if name not in carried))
        self.carried = len(carried)
        self.training = False

    def forward(self, *values: Tensor) -> Tensor:
        """Apply the function to the values of ``sources``."""
        return cast(Tensor, self.expression.compute(dict(zip(self.sources, values, strict=True))))

    def given(self, *names: str) -> dict[str, object]:
        """Return the arguments after the first, which have these names, as they are now."""
        arguments = dict(zip(names, self.expression.arguments[1:], strict=False)) | dict(self.expression.options)
        return {name: computed(argument, {}) for name, argument in arguments.items()}

    def extra_repr(self) -> str:
        """Return the function's name."""
        return self.expression.name


class LinearFunction(Function):
    """A function that is linear in all values together, but for a constant: reshaping, padding, a mean, x - y, 2 * x + 1."""


class PlaceByPlace(LinearFunction):
    """A function that is linear in its one value and looks at each place by itself: batch norm, a factor, a change of type."""


class Add(Function):
    """The sum of two values."""


class Concatenate(Function):
    """Values joined along a dimension, ``dimension``."""

    def __init__(self, expression: Expression, dimension: int) -> None:
        super().__init__(expression)
        self.dimension = dimension


class Product(Function):
    """A value times a gate that is computed from the same input, as in squeeze-and-excitation.

    Attributes:
        gate: the gate's index among the inputs, 0 or 1.
    """

    def __init__(self, expression: Expression, gate: int) -> None:
        super().__init__(expression)
        self.gate = gate


class DenseFunction(Function):
    """A dense layer whose weights the forward hands over, as ``F.linear`` takes them."""

    @property
    def weight(self) -> Tensor:
        """W, (outputs, inputs)."""
        return cast(Tensor, self.given("weight", "bias")["weight"])

    @property
    def bias(self) -> Tensor | None:
        """The bias, (outputs,), if there is one."""
        return cast(Tensor | None, self.given("weight", "bias").get("bias"))


class NormFunction(Function):
    """Normalisation with weights that the forward hands over. A subclass names the arguments after the first."""

    names: ClassVar[tuple[str, ...]]

    @property
    def weight(self) -> Tensor | None:
        """What the normalised values are multiplied by."""
        return cast(Tensor | None, self._settings().get("weight"))

    @property
    def eps(self) -> float:
        """What is added to the variance."""
        return cast(float, self._settings().get("eps", 1e-5))

    def _settings(self) -> dict[str, object]:
        return self.given(*self.names)


class LayerNormFunction(NormFunction):
    """Layer normalisation, as by ``F.layer_norm``."""

    names = ("normalized_shape", "weight", "bias", "eps")

    @property
    def normalized_shape(self) -> list[int]:
        """The shape of what is normalised together: the last dimensions."""
        return list(cast(Sequence[int], self._settings()["normalized_shape"]))


class GroupNormFunction(NormFunction):
    """Group normalisation, as by ``F.group_norm``."""

    names = ("num_groups", "weight", "bias", "eps")

    @property
    def num_groups(self) -> int:
        """How many groups of channels are normalised, each by itself."""
        return cast(int, self._settings()["num_groups"])


class InstanceNormFunction(NormFunction):
    """Instance normalisation, as by ``F.instance_norm``."""

    names = ("running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")

    @property
    def running_var(self) -> Tensor | None:
        """The variance that it takes in place of the image's own."""
        settings = self._settings()
        return None if settings.get("use_input_stats", True) else cast(Tensor | None, settings["running_var"])
