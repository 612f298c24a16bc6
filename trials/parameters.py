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

Quantile = Callable[[float], float]


@dataclass(frozen=True)
class Choice:
    """One of these values, each equally likely."""

    values: tuple[Any, ...]

    def suggest(self, trial: Trial, key: str) -> Any:
        """The value that a trial tries."""
        if len(self.values) == 1:
            return self.values[0]
        return self.values[trial.suggest_categorical(key, range(len(self.values)))]


@dataclass(frozen=True)
class Number:
    """A number whose distribution has this quantile function; a multiple of ``step``, if there is one, and maybe whole."""

    quantile: Quantile
    step: float | None = None
    whole: bool = False

    def suggest(self, trial: Trial, key: str) -> float:
        """The number that a trial tries."""
        return self.at(trial.suggest_float(key, 0, 1))

    def at(self, u: float) -> float:
        """The number at a share u of the distribution, from 0 to 1."""
        value = self.quantile(min(max(u, 1e-9), 1 - 1e-9))
        if self.step:
            value = round(value / self.step) * self.step
        return round(value) if self.whole else float(f"{value:.6g}")


@dataclass(frozen=True)
class Weighted:
    """One of these values, likely as the weights say."""

    values: tuple[Any, ...]
    weights: tuple[float, ...]

    def suggest(self, trial: Trial, key: str) -> Any:
        """The value that a trial tries."""
        left = trial.suggest_float(key, 0, 1) * sum(self.weights)
        for value, weight in zip(self.values, self.weights, strict=True):
            left -= weight
            if left <= 0:
                return value
        return self.values[-1]


Parameter = Choice | Number | Weighted


def parameter(entry: dict[str, Any], grid: bool) -> Parameter:
    """The parameter that an entry below ``parameters:`` describes. For a ``grid`` all must be countable.

    Raises:
        ValueError: says what is wrong with the entry.
    """
    found = _parameter(dict(entry))
    if grid and not isinstance(found, Choice):
        countable = _countable(entry)
        if countable is None:
            raise ValueError("a grid needs values, or whole numbers or steps from min to max; method: random takes the rest")
        return Choice(countable)
    return found


def _parameter(entry: dict[str, Any]) -> Parameter:
    kind = str(entry.pop("distribution", None) or _default(entry))
    if kind == "constant":
        return Choice((_take(entry, kind, "value"),))
    if kind in ("categorical", "categorical_w_probabilities"):
        values = _take(entry, kind, "values", None if "probabilities" not in entry else ("probabilities",))
        if not isinstance(values, list) or not values:
            raise ValueError("values must be a list with at least one value")
        weights = entry.get("probabilities")
        if weights is None:
            return Choice(tuple(values))
        if len(weights) != len(values) or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError("probabilities must be as many as values, none below 0")
        return Weighted(tuple(values), tuple(float(weight) for weight in weights))
    if kind not in DISTRIBUTIONS:
        raise ValueError(f"no distribution {kind}: {', '.join(('constant', 'categorical', *DISTRIBUTIONS))}")
    names, quantile = DISTRIBUTIONS[kind]
    whole, step = kind == "int_uniform", None
    if kind.startswith("q_"):
        step = float(entry.pop("q", 1))
        if step <= 0:
            raise ValueError("q must be above 0")
        whole = step.is_integer()
    defaults = {"mu": 0.0, "sigma": 1.0} if names == ("mu", "sigma") else {}
    numbers = []
    for name in names:
        if name not in entry and name not in defaults:
            raise ValueError(f"distribution {kind} needs {' and '.join(names)}")
        number = entry.pop(name, defaults.get(name))
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"{name}: {number} is no number" + _exponent_hint(number))
        numbers.append(float(number))
    if entry:
        raise ValueError(f"{', '.join(entry)} doesn't belong to distribution {kind}")
    if names == ("min", "max") and numbers[0] >= numbers[1]:
        raise ValueError(f"min {numbers[0]:g} must be below max {numbers[1]:g}")
    try:
        made = Number(lambda u: quantile(u, *numbers), step, whole)
        made.at(0.5)
    except (ValueError, ArithmeticError) as problem:
        raise ValueError(f"distribution {kind} has no values between these bounds") from problem
    return made


def _default(entry: dict[str, Any]) -> str:
    """The distribution that is meant where none is named."""
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical"
    if {"min", "max"} <= entry.keys():
        both_whole = all(isinstance(entry[name], int) for name in ("min", "max"))
        return "int_uniform" if both_whole else "uniform"
    if {"mu", "sigma"} & entry.keys():
        return "normal"
    raise ValueError("needs value, values, min and max, or a distribution")


def _take(entry: dict[str, Any], kind: str, name: str, also: Sequence[str] | None = None) -> Any:
    if name not in entry:
        raise ValueError(f"distribution {kind} needs {name}")
    others = [key for key in entry if key != name and key not in (also or ())]
    if others:
        raise ValueError(f"{', '.join(others)} doesn't belong beside {name}")
    return entry[name]


def _exponent_hint(number: Any) -> str:
    """YAML reads 1e-4 as a word."""
    try:
        return f"; write {float(number)}" if isinstance(number, str) else ""
    except ValueError:
        return ""


def _countable(entry: dict[str, Any]) -> tuple[float, ...] | None:
    kind = entry.get("distribution") or _default(entry)
    if kind not in ("int_uniform", "q_uniform"):
        return None
    step = float(entry.get("q", 1))
    first, last = math.ceil(entry["min"] / step - 1e-9), math.floor(entry["max"] / step + 1e-9)  # 0.3 / 0.1 is below 3
    return tuple(int(k * step) if step.is_integer() else float(f"{k * step:.6g}") for k in range(first, last + 1))


def _log_uniform(u: float, low: float, high: float) -> float:
    return math.exp(low + (high - low) * u)


# By W&B's names, with the names of the numbers that each takes: docs.wandb.ai, sweep configuration options.
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
