"""What a parameter of a sweep may be: one of several values, or a number from a distribution.

A number comes from its distribution's quantile function: the search proposes u, uniform in (0, 1), and the parameter is
quantile(u). So every distribution works with every way to search, and what is searched is always the same cube. With a step q
the number is rounded to its nearest multiple.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import Trial
from scipy import stats

from trials.mistakes import hint

Quantile = Callable[[float], float]

LARGEST_GRID = 10_000  # trials, all of which the study holds from the start


@dataclass(frozen=True)
class Choice:
    """One of several values, each equally likely."""

    values: tuple[Any, ...]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Return the value that a trial tries."""
        if len(self.values) == 1:
            return self.values[0]
        return self.values[trial.suggest_categorical(key, range(len(self.values)))]


@dataclass(frozen=True)
class WeightedChoice:
    """One of several values, each with its own probability."""

    values: tuple[Any, ...]
    weights: tuple[float, ...]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Return the value that a trial tries."""
        remaining = trial.suggest_float(key, 0, 1) * sum(self.weights)
        for value, weight in zip(self.values, self.weights, strict=True):
            remaining -= weight
            if remaining <= 0:
                return value
        return self.values[-1]


@dataclass(frozen=True)
class Number:
    """A number from the distribution with this quantile function; a multiple of ``step``, if there is one."""

    quantile: Quantile
    step: float | None = None
    integer: bool = False

    def suggest(self, trial: Trial, key: str) -> float:
        """Return the number that a trial tries."""
        return self.at(trial.suggest_float(key, 0, 1))

    def at(self, u: float) -> float:
        """Return the number below which the share u of the distribution lies, u from 0 to 1."""
        value = self.quantile(min(max(u, 1e-9), 1 - 1e-9))
        if self.step:
            value = round(value / self.step) * self.step
        return round(value) if self.integer else float(f"{value:.6g}")


Parameter = Choice | WeightedChoice | Number


def parse_parameter(entry: dict[str, Any], grid: bool) -> Parameter:
    """Parse an entry below ``parameters:``. For a ``grid`` its values must be countable.

    Raises:
        ValueError: the entry is wrong; the message says how.
    """
    try:
        parameter = _parse({str(key): value for key, value in entry.items()})
        values = _grid_values(entry) if grid and not isinstance(parameter, Choice) else None
    except (TypeError, ArithmeticError) as error:  # a list in place of a number, a number that no float holds
        raise ValueError(f"it can't be used: {error}") from error
    if grid and not isinstance(parameter, Choice):
        if values is None:
            raise ValueError("a grid needs values, or whole numbers or steps from min to max; method: random takes the rest")
        return Choice(values)
    return parameter


def _parse(entry: dict[str, Any]) -> Parameter:
    kind = str(entry.pop("distribution", None) or _default_distribution(entry))
    if kind == "constant":
        return Choice((_take(entry, kind, "value"),))
    if kind in ("categorical", "categorical_w_probabilities"):
        return _parse_choice(entry, kind)
    if kind in DISTRIBUTIONS:
        return _parse_number(entry, kind)
    raise ValueError(f"no distribution {kind}; {hint(kind, ('constant', 'categorical', *DISTRIBUTIONS))}")


def _parse_choice(entry: dict[str, Any], kind: str) -> Choice | WeightedChoice:
    values = _take(entry, kind, "values", optional=("probabilities",))
    if not isinstance(values, list) or not values:
        raise ValueError("values must be a list with at least one value")
    weights = entry.get("probabilities")
    if weights is None:
        return Choice(tuple(values))
    if not isinstance(weights, list) or not all(_is_number(weight) and 0 <= weight < math.inf for weight in weights):
        raise ValueError("probabilities must be a list of numbers, none below 0")
    if len(weights) != len(values) or sum(weights) <= 0:
        raise ValueError("probabilities must be as many as values, and not all 0")
    return WeightedChoice(tuple(values), tuple(float(weight) for weight in weights))


def _parse_number(entry: dict[str, Any], kind: str) -> Number:
    names, quantile = DISTRIBUTIONS[kind]
    integer, step = kind == "int_uniform", None
    if kind.startswith("q_"):
        step = float(entry.pop("q", 1))
        if not 0 < step < math.inf:
            raise ValueError("q must be above 0")
        integer = step.is_integer()
    arguments = _take_arguments(entry, kind, names)
    if entry:
        raise ValueError(f"{', '.join(entry)} doesn't belong to distribution {kind}")
    if names == ("min", "max") and arguments[0] >= arguments[1]:
        raise ValueError(f"min {arguments[0]:g} must be below max {arguments[1]:g}")
    number = Number(lambda u: quantile(u, *arguments), step, integer)
    try:
        ends = [number.at(u) for u in (0, 0.5, 1)]
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"distribution {kind} has no values between these bounds") from error
    if not all(map(math.isfinite, ends)):
        raise ValueError(f"distribution {kind} has values that are no numbers between these bounds")
    return number


def _take_arguments(entry: dict[str, Any], kind: str, names: tuple[str, ...]) -> list[float]:
    """Remove the arguments of a distribution from its entry and return them in the order of their names."""
    defaults = {"mu": 0.0, "sigma": 1.0} if names == ("mu", "sigma") else {}
    arguments = []
    for name in names:
        if name not in entry and name not in defaults:
            raise ValueError(f"distribution {kind} needs {' and '.join(names)}")
        number = entry.pop(name, defaults.get(name))
        if not _is_number(number) or not math.isfinite(number):
            raise ValueError(f"{name}: {number} is no number" + _exponent_hint(number))
        arguments.append(float(number))
    return arguments


def _default_distribution(entry: dict[str, Any]) -> str:
    """Return the distribution that is meant where none is named."""
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical"
    if {"min", "max"} <= entry.keys():
        both_whole = all(isinstance(entry[name], int) for name in ("min", "max"))
        return "int_uniform" if both_whole else "uniform"
    if {"mu", "sigma"} & entry.keys():
        return "normal"
    known = ("value", "values", "min", "max", "mu", "sigma", "distribution", "probabilities", "q", "a", "b")
    meant = [hint(key, known) for key in entry if key not in known]
    raise ValueError("needs value, values, min and max, or a distribution" + "".join(f"; {each}" for each in meant[:1]))


def _take(entry: dict[str, Any], kind: str, name: str, optional: Sequence[str] = ()) -> Any:
    """Return a value of an entry that has no other keys but the ``optional`` ones."""
    if name not in entry:
        raise ValueError(f"distribution {kind} needs {name}")
    others = [key for key in entry if key != name and key not in optional]
    if others:
        raise ValueError(f"{', '.join(others)} doesn't belong beside {name}")
    return entry[name]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exponent_hint(number: Any) -> str:
    """Return how to write 1e-4, which YAML reads as a string."""
    try:
        return f"; write {float(number)}" if isinstance(number, str) else ""
    except ValueError:
        return ""


def _grid_values(entry: dict[str, Any]) -> tuple[float, ...] | None:
    """Return the values that a grid takes between min and max, None for a distribution without steps."""
    kind = entry.get("distribution") or _default_distribution(entry)
    if kind not in ("int_uniform", "q_uniform"):
        return None
    step = float(entry.get("q", 1))
    first, last = math.ceil(entry["min"] / step - 1e-9), math.floor(entry["max"] / step + 1e-9)  # 0.3 / 0.1 is below 3
    if last - first >= LARGEST_GRID:
        raise ValueError(f"a grid of {last - first + 1} values; at most {LARGEST_GRID} trials: take steps, or method: random")
    return tuple(int(k * step) if step.is_integer() else float(f"{k * step:.6g}") for k in range(first, last + 1))


def _log_uniform(u: float, low: float, high: float) -> float:
    return math.exp(low + (high - low) * u)


# By W&B's names, with the names of the arguments that each takes: docs.wandb.ai, sweep configuration options.
DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], Callable[..., float]]] = {
    "uniform": (("min", "max"), lambda u, low, high: low + (high - low) * u),
    "int_uniform": (("min", "max"), lambda u, low, high: low - 0.5 + (high - low + 1) * u),
    "log_uniform": (("min", "max"), _log_uniform),  # bounds are exponents of e
    "log_uniform_values": (("min", "max"), lambda u, low, high: _log_uniform(u, math.log(low), math.log(high))),
    "inv_log_uniform": (("min", "max"), lambda u, low, high: 1 / _log_uniform(u, low, high)),
    "inv_log_uniform_values": (
        ("min", "max"),  # log(1 / x) is uniform between log(1 / max) and log(1 / min)
        lambda u, low, high: 1 / _log_uniform(u, -math.log(high), -math.log(low)),
    ),
    "normal": (("mu", "sigma"), lambda u, mu, sigma: float(stats.norm.ppf(u, mu, sigma))),
    "log_normal": (("mu", "sigma"), lambda u, mu, sigma: math.exp(stats.norm.ppf(u, mu, sigma))),
    "beta": (("a", "b"), lambda u, a, b: float(stats.beta.ppf(u, a, b))),
}
STEPPED = ("uniform", "log_uniform", "log_uniform_values", "normal", "log_normal", "beta")
DISTRIBUTIONS |= {f"q_{name}": DISTRIBUTIONS[name] for name in STEPPED}
