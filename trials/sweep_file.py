"""W&B's sweep files, read and checked: what can't be done here is refused, with the line and the reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from configs import SettingsError
from trials.parameters import Parameter, parameter

Refuse = Callable[[tuple[str, ...], str], NoReturn]
"""Raises for the key at a place in the file, with the reason."""

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")  # as W&B has it
KNOWN = {
    "program", "method", "metric", "parameters", "name", "description", "project", "entity", "command", "run_cap",
    "early_terminate",
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """What is searched for. ``name`` is a column of the runs' ``metrics.csv`` or a figure of their ``summary.json``.

    A trial whose value reaches ``target`` ends the sweep.
    """

    name: str
    maximize: bool
    target: float | None = None

    def reached(self, rows: list[dict[str, float]], summary: dict[str, Any]) -> float | None:
        """The best value over the epochs; of a figure that is taken once at the end, that one. None without any."""
        values = [row[self.name] for row in rows if self.name in row]
        if not values:
            return summary.get(self.name)
        return max(values) if self.maximize else min(values)


@dataclass(frozen=True)
class Sweep:
    """A sweep file. parameters: by key. hyperband: the first epoch at which trials may be stopped and its factor, or None."""

    file: Path
    name: str
    program: str
    method: str
    metric: Metric
    parameters: dict[str, Parameter]
    command: tuple[str, ...]
    run_cap: int | None
    hyperband: tuple[int, int] | None
    project: str | None
    entity: str | None
    description: str | None
    definition: dict[str, Any]

    @property
    def varied(self) -> list[str]:
        """The keys of the parameters that take more than one value."""
        return [key for key, own in self.parameters.items() if len(getattr(own, "values", "..")) > 1]


def read_sweep(file: Path) -> Sweep:
    """The sweep in a file. Raises SettingsError, with the line, for what is wrong in it or can't be done without a server."""
    try:
        text = file.read_text()
        found, lines = yaml.safe_load(text), _lines(yaml.compose(text, yaml.SafeLoader))
    except OSError as problem:
        raise SettingsError(f"{file} can't be read: {problem.strerror}") from problem
    except yaml.YAMLError as problem:
        raise SettingsError(f"{file} is not valid YAML: {' '.join(str(problem).split())}") from problem
    if not isinstance(found, dict):
        raise SettingsError(f"{file} is no sweep: it needs program, method and parameters")

    def refuse(place: tuple[str, ...], reason: str) -> NoReturn:
        line = next(lines[place[:length]] for length in range(len(place), -1, -1) if place[:length] in lines)
        raise SettingsError(f"{file}, line {line}: {': '.join((*place, reason))}")

    for key in found:
        if key not in KNOWN:
            refuse((str(key),), f"not known here; a sweep has {', '.join(sorted(KNOWN))}")
    for key in ("method", "parameters"):
        if key not in found:
            refuse((), f"{key} is missing")
    method = found["method"]
    if method not in ("grid", "random", "bayes"):
        refuse(("method",), f"{method} is not one of grid, random, bayes")
    if not isinstance(found["parameters"], dict) or not found["parameters"]:
        refuse(("parameters",), "needs at least one parameter")
    parameters: dict[str, Parameter] = {}
    for key, entry in found["parameters"].items():
        try:
            parameters |= _parameters(key, entry, method == "grid")
        except ValueError as problem:
            refuse(("parameters", str(key)), str(problem))
    run_cap = found.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        refuse(("run_cap",), "must be a whole number from 1")
    if run_cap is None and method != "grid":
        refuse(("method",), f"a {method} search has no end of its own: add run_cap, the number of trials")
    metric = _metric(found.get("metric"), method, refuse)
    return Sweep(
        file, str(found.get("name", file.stem)), str(found.get("program", "train.py")), method, metric, parameters,
        tuple(map(str, found.get("command", DEFAULT_COMMAND))), run_cap,
        _hyperband(found.get("early_terminate"), refuse), found.get("project"), found.get("entity"),
        found.get("description"), found,
    )  # fmt: skip


def _parameters(key: str, entry: Any, grid: bool) -> dict[str, Parameter]:
    """The parameters below a key: itself or, nested, those below it under dotted keys."""
    if not isinstance(entry, dict):
        raise ValueError("write value: or values: below it")
    if "parameters" not in entry:
        return {key: parameter(entry, grid)}
    if len(entry) > 1:
        raise ValueError("parameters stands alone in a nested entry")
    found: dict[str, Parameter] = {}
    for own, nested in entry["parameters"].items():
        found |= _parameters(f"{key}.{own}", nested, grid)
    return found


def _metric(entry: Any, method: str, refuse: Refuse) -> Metric:
    if entry is None and method != "bayes":
        return Metric("val/accuracy", True)
    if not isinstance(entry, dict) or "name" not in entry:
        refuse(("metric",), "needs a name, such as val/accuracy")
    goal = entry.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        refuse(("metric", "goal"), f"{goal} is not one of minimize, maximize")
    if others := set(entry) - {"name", "goal", "target"}:
        refuse(("metric",), f"{', '.join(sorted(others))} not known here")
    target = entry.get("target")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float)):
        refuse(("metric", "target"), f"{target} is no number")
    return Metric(str(entry["name"]), goal == "maximize", target)


def _hyperband(entry: Any, refuse: Refuse) -> tuple[int, int] | None:
    """The first epoch at which trials may be stopped, and the factor to the next ones and of the trials that go on."""
    if entry is None:
        return None
    place = ("early_terminate",)
    if not isinstance(entry, dict) or entry.get("type") != "hyperband":
        refuse(place, "type must be hyperband")
    if entry.get("strict"):
        refuse((*place, "strict"), "not done here: trials are stopped as they come by; leave it out")
    numbers = {key: number for key, number in entry.items() if key not in ("type", "strict")}
    for key, number in numbers.items():
        if key not in ("min_iter", "max_iter", "s", "eta"):
            refuse((*place, key), "not known here; hyperband has min_iter, or max_iter and s, and eta")
        if not isinstance(number, int) or number < (2 if key == "eta" else 1):
            refuse((*place, key), f"must be a whole number from {2 if key == 'eta' else 1}")
    eta = numbers.pop("eta", 3)
    if numbers.keys() == {"min_iter"}:
        return numbers["min_iter"], eta
    if numbers.keys() == {"max_iter", "s"}:
        return max(1, numbers["max_iter"] // eta ** numbers["s"]), eta
    refuse(place, "needs min_iter, or max_iter and s")


def _lines(node: yaml.Node | None, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """The line, from 1, of each key in a document, by the keys that lead to it."""
    if node is None:
        return {(): 1}
    found = {place: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            own = (*place, str(key.value))
            found |= _lines(value, own)
            found[own] = key.start_mark.line + 1
    return found


def safe_name(name: str) -> str:
    """A sweep's name as the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "sweep"
