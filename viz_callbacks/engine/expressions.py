"""What a function in a forward is applied to, written down so that it can be computed for any images."""

import operator
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Value:
    """A layer's output, by the layer's name, in an expression."""

    name: str


@dataclass(frozen=True)
class Attribute:
    """A parameter or another tensor that a module holds, as it is when the network runs."""

    owner: weakref.ref[nn.Module]
    name: str

    def get(self) -> object:
        """Return the tensor."""
        return getattr(self.owner(), self.name)


OPERATORS = {getattr(operator, f"i{name}"): name for name in ("add", "sub", "mul", "truediv")}
"""Operators that work in place, such as ``x += y``."""


def plain_name(function: Callable[..., object] | str) -> str:
    """Return a function's name, without what says that it works in place.

    >>> plain_name(operator.iadd), plain_name("relu_")
    ('add', 'relu')
    """
    if not isinstance(function, str) and function in OPERATORS:
        return OPERATORS[function]
    name = function if isinstance(function, str) else getattr(function, "__name__", str(function))
    return name.strip("_")


@dataclass(frozen=True)
class Expression:
    """A function applied to values, attributes, constants and other expressions, such as ``x.view(x.size(0), -1)``.

    Attributes:
        function: takes the arguments; of a method the name, which is looked up on the first argument.
        arguments: by position.
        options: by name.
        is_size: whether its result says something of a value's shape, and holds none of its numbers.
        in_place: whether the result is written over the first argument: ``x += y``, ``x.relu_()``, ``F.relu(x, inplace=True)``.
    """

    function: Callable[..., object] | str
    arguments: tuple[object, ...]
    options: Mapping[str, object]
    is_size: bool = False
    in_place: bool = False

    @property
    def name(self) -> str:
        """The function's name, without what says that it works in place."""
        return plain_name(self.function)

    def compute(self, values: Mapping[str, object]) -> object:
        """Return the result for the values of these names, which stay as they are."""
        arguments = computed(self.arguments, values)
        options = computed(dict(self.options), values)
        if self.in_place and isinstance(arguments[0], Tensor):
            arguments = (arguments[0].clone(), *arguments[1:])
        if isinstance(self.function, str):
            return getattr(arguments[0], self.function)(*arguments[1:], **options)
        return self.function(*arguments, **options)


def computed(argument: Any, values: Mapping[str, object]) -> Any:
    """Return an argument with everything in it computed: the same shape of tuples and dicts, without expressions."""
    match argument:
        case Value(name):
            return values[name]
        case Attribute():
            return argument.get()
        case Expression():
            return argument.compute(values)
        case tuple() | list():
            return type(argument)(computed(each, values) for each in argument)
        case dict():
            return {key: computed(each, values) for key, each in argument.items()}
        case slice(start=start, stop=stop, step=step):
            return slice(*(computed(each, values) for each in (start, stop, step)))
    return argument


def parts_of(argument: object, within_sizes: bool = True) -> Iterator[Value | Attribute]:
    """Yield the values and attributes in an argument, again where they are used again."""
    match argument:
        case Value() | Attribute():
            yield argument
        case Expression(arguments=arguments, options=options, is_size=is_size):
            if within_sizes or not is_size:
                yield from parts_of((arguments, dict(options)), within_sizes)
        case tuple() | list():
            for each in argument:
                yield from parts_of(each, within_sizes)
        case dict():
            yield from parts_of(tuple(argument.values()), within_sizes)
        case slice(start=start, stop=stop, step=step):
            yield from parts_of((start, stop, step), within_sizes)


def values_of(argument: object, within_sizes: bool = True) -> list[str]:
    """Return the names of the values in an argument, each once."""
    return list(dict.fromkeys(part.name for part in parts_of(argument, within_sizes) if isinstance(part, Value)))
