"""What a sweep searches for, and when it gives a trial up: ``metric`` and ``early_terminate`` of a sweep file."""

import math
from dataclasses import dataclass
from typing import Any

from trials.mistakes import Mistakes, hint

LARGEST_COUNT, LARGEST_POWER = 1_000_000, 100


@dataclass(frozen=True)
class Metric:
    """What is searched for.

    Attributes:
        name: a column of the runs' ``metrics.csv`` or a figure of their ``summary.json``.
        maximize: whether higher is better.
        target: a trial whose value reaches it ends the sweep.
    """

    name: str
    maximize: bool
    target: float | None = None

    def best_value(self, rows: list[dict[str, float]], summary: dict[str, Any]) -> float | None:
        """Return the best value over the epochs, or of a figure taken once at the end that one; None without any."""
        values = [row[self.name] for row in rows if self.name in row]
        if not values:
            value = summary.get(self.name)
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        return max(values) if self.maximize else min(values)


def parse_metric(entry: Any, method: str | None, mistakes: Mistakes) -> Metric:
    """Return what a sweep file's ``metric`` says; without one, the highest ``val/accuracy`` is searched for."""
    if entry is None and method != "bayes":
        return Metric("val/accuracy", True)
    if not isinstance(entry, dict) or "name" not in entry:
        mistakes.refuse(("metric",), "needs a name, such as val/accuracy")
    goal = entry.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        mistakes.refuse(("metric", "goal"), f"{goal} is none; {hint(str(goal), ('minimize', 'maximize'))}")
    if others := set(entry) - {"name", "goal", "target"}:
        other = min(map(str, others))
        mistakes.refuse(("metric", other), f"not known here; {hint(other, ('name', 'goal', 'target'))}")
    target = entry.get("target")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float) or not abs(target) < math.inf):
        mistakes.refuse(("metric", "target"), f"{target} is no number")
    return Metric(str(entry["name"]), goal == "maximize", target)


def parse_hyperband(entry: Any, mistakes: Mistakes) -> tuple[int, int] | None:
    """Return the first epoch at which trials may be stopped, and the factor to the next ones, at which 1/factor stay."""
    if entry is None:
        return None
    path = ("early_terminate",)
    if not isinstance(entry, dict) or entry.get("type") != "hyperband":
        mistakes.refuse(path, "type must be hyperband")
    if entry.get("strict"):
        mistakes.refuse((*path, "strict"), "not done here: a trial is stopped as soon as it reports; leave it out")
    numbers = {key: number for key, number in entry.items() if key not in ("type", "strict")}
    for key, number in numbers.items():
        if key not in ("min_iter", "max_iter", "s", "eta"):
            known = hint(str(key), ("min_iter", "max_iter", "s", "eta"))
            mistakes.refuse((*path, str(key)), f"not known here; {known}")
        lowest, highest = (2 if key == "eta" else 1), (LARGEST_POWER if key == "s" else LARGEST_COUNT)
        if not is_count(number, lowest, highest):
            mistakes.refuse((*path, key), f"must be a whole number from {lowest} to {highest}")
    eta = numbers.pop("eta", 3)
    if numbers.keys() == {"min_iter"}:
        return numbers["min_iter"], eta
    if numbers.keys() == {"max_iter", "s"}:
        return max(1, numbers["max_iter"] // eta ** numbers["s"]), eta
    mistakes.refuse(path, "needs min_iter, or max_iter and s")


def is_count(value: Any, lowest: int, highest: int = LARGEST_COUNT) -> bool:
    """Return whether a value is a whole number between these."""
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
