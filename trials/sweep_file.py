"""W&B's sweep files, read and checked: what can't be done here is refused, with the line and the reason."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from configs import SettingsError
from configs.yaml_reader import read_yaml_file
from trials.parameters import LARGEST_GRID, Choice, Number, Parameter, parse_parameter

Refuse = Callable[[tuple[str, ...], str], NoReturn]
"""Raises SettingsError for the key at a path in the file, with its line and the reason."""

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")  # as W&B has it
KNOWN = {
    "program", "method", "metric", "parameters", "name", "description", "project", "entity", "command", "run_cap",
    "early_terminate",
}  # fmt: skip
LARGEST_COUNT, LARGEST_POWER = 1_000_000, 100
LONGEST_FOLDER = 60  # letters, of up to four bytes each: a file system takes 255 bytes


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


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        file: where it was read from.
        name: of the study, the runs' folder and the group in W&B.
        program: what each trial runs.
        method: grid, random or bayes.
        metric: what is searched for.
        parameters: what is varied or set, by key.
        command: the arguments that start a trial, with macros.
        run_cap: how many trials there are at most.
        hyperband: the first epoch at which trials may be stopped, and the factor to the next one; None for no stopping.
        project: of W&B, for the runs.
        entity: W&B's user or team.
        description: shown when the sweep starts.
        definition: the file as it was read.
    """

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
        """Return the keys of the parameters that take more than one value."""
        return [key for key, entry in self.parameters.items() if isinstance(entry, Number) or len(entry.values) > 1]


def read_sweep(file: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        SettingsError: something in it is wrong or can't be done without a server; the message names the line.
    """
    definition, lines = _load(file)

    def refuse(path: tuple[str, ...], reason: str) -> NoReturn:
        line = next(lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in lines)
        raise SettingsError(f"{file}, line {line}: {': '.join((*path, reason))}")

    _check_keys(definition, refuse)
    method = definition["method"]
    parameters: dict[str, Parameter] = {}
    for key, entry in definition["parameters"].items():
        try:
            parameters |= _parse_parameters(str(key), entry, method == "grid")
        except ValueError as error:
            refuse(("parameters", str(key)), str(error))
    trials = math.prod(len(entry.values) for entry in parameters.values() if isinstance(entry, Choice))
    if method == "grid" and trials > LARGEST_GRID:
        refuse(("parameters",), f"a grid of {trials} trials; at most {LARGEST_GRID}: take fewer values, or method: random")
    texts = {key: _text(definition, key, refuse) for key in ("name", "program", "project", "entity", "description")}
    return Sweep(
        file=file,
        name=texts["name"] or file.stem,
        program=texts["program"] or "train.py",
        method=method,
        metric=_parse_metric(definition.get("metric"), method, refuse),
        parameters=parameters,
        command=_parse_command(definition.get("command"), refuse),
        run_cap=definition.get("run_cap"),
        hyperband=_parse_hyperband(definition.get("early_terminate"), refuse),
        project=texts["project"],
        entity=texts["entity"],
        description=texts["description"],
        definition=definition,
    )


def _load(file: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """Return the content of a YAML file, and the line of each of its keys."""
    content, node = read_yaml_file(file, exponents=False)
    if not isinstance(content, dict):
        raise SettingsError(f"{file} is no sweep: it needs program, method and parameters")
    return content, _line_numbers(node)


def _text(definition: dict[str, Any], key: str, refuse: Refuse) -> str | None:
    value = definition.get(key)
    if isinstance(value, dict | list) or value == "":
        refuse((key,), "must be a text")
    return None if value is None else str(value)


def _parse_command(entry: Any, refuse: Refuse) -> tuple[str, ...]:
    if entry is None:
        return DEFAULT_COMMAND
    if not isinstance(entry, list) or not entry or any(isinstance(part, dict | list) or part is None for part in entry):
        refuse(("command",), "must be a list of words, such as ${interpreter}, ${program} and ${args}")
    return tuple(map(str, entry))


def _check_keys(definition: dict[str, Any], refuse: Refuse) -> None:
    """Refuse unknown keys, missing ones, and a search that would never end."""
    for key in definition:
        if key not in KNOWN:
            refuse((str(key),), f"not known here; a sweep has {', '.join(sorted(KNOWN))}")
    for key in ("method", "parameters"):
        if key not in definition:
            refuse((), f"{key} is missing")
    method, parameters, run_cap = definition["method"], definition["parameters"], definition.get("run_cap")
    if method not in ("grid", "random", "bayes"):
        refuse(("method",), f"{method} is not one of grid, random, bayes")
    if not isinstance(parameters, dict) or not parameters:
        refuse(("parameters",), "needs at least one parameter")
    if run_cap is not None and not _is_count(run_cap, 1):
        refuse(("run_cap",), f"must be a whole number from 1 to {LARGEST_COUNT}")
    if run_cap is None and method != "grid":
        refuse(("method",), f"a {method} search has no end of its own: add run_cap, the number of trials")


def _parse_parameters(key: str, entry: Any, grid: bool) -> dict[str, Parameter]:
    """Return the parameters below a key: itself or, nested, those below it under dotted keys."""
    if not isinstance(entry, dict):
        raise ValueError("write value: or values: below it")
    if "parameters" not in entry:
        return {key: parse_parameter(entry, grid)}
    if len(entry) > 1:
        raise ValueError("parameters stands alone in a nested entry")
    if not isinstance(entry["parameters"], dict) or not entry["parameters"]:
        raise ValueError("a nested parameters needs at least one parameter")
    parameters: dict[str, Parameter] = {}
    for name, nested in entry["parameters"].items():
        parameters |= _parse_parameters(f"{key}.{name}", nested, grid)
    return parameters


def _parse_metric(entry: Any, method: str, refuse: Refuse) -> Metric:
    if entry is None and method != "bayes":
        return Metric("val/accuracy", True)
    if not isinstance(entry, dict) or "name" not in entry:
        refuse(("metric",), "needs a name, such as val/accuracy")
    goal = entry.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        refuse(("metric", "goal"), f"{goal} is not one of minimize, maximize")
    if others := set(entry) - {"name", "goal", "target"}:
        refuse(("metric",), f"{', '.join(sorted(map(str, others)))} not known here")
    target = entry.get("target")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float) or not abs(target) < math.inf):
        refuse(("metric", "target"), f"{target} is no number")
    return Metric(str(entry["name"]), goal == "maximize", target)


def _parse_hyperband(entry: Any, refuse: Refuse) -> tuple[int, int] | None:
    """Return the first epoch at which trials may be stopped, and the factor to the next ones, at which 1/factor stay."""
    if entry is None:
        return None
    path = ("early_terminate",)
    if not isinstance(entry, dict) or entry.get("type") != "hyperband":
        refuse(path, "type must be hyperband")
    if entry.get("strict"):
        refuse((*path, "strict"), "not done here: a trial is stopped as soon as it reports; leave it out")
    numbers = {key: number for key, number in entry.items() if key not in ("type", "strict")}
    for key, number in numbers.items():
        if key not in ("min_iter", "max_iter", "s", "eta"):
            refuse((*path, str(key)), "not known here; hyperband has min_iter, or max_iter and s, and eta")
        lowest, highest = (2 if key == "eta" else 1), (LARGEST_POWER if key == "s" else LARGEST_COUNT)
        if not _is_count(number, lowest, highest):
            refuse((*path, key), f"must be a whole number from {lowest} to {highest}")
    eta = numbers.pop("eta", 3)
    if numbers.keys() == {"min_iter"}:
        return numbers["min_iter"], eta
    if numbers.keys() == {"max_iter", "s"}:
        return max(1, numbers["max_iter"] // eta ** numbers["s"]), eta
    refuse(path, "needs min_iter, or max_iter and s")


def _is_count(value: Any, lowest: int, highest: int = LARGEST_COUNT) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _line_numbers(node: yaml.Node | None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Return the line, from 1, of each key in a document, by the keys that lead to it."""
    if node is None:
        return {(): 1}
    lines = {path: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            own_path = (*path, str(key.value))
            lines |= _line_numbers(value, own_path)
            lines[own_path] = key.start_mark.line + 1
    return lines


def folder_name(name: str) -> str:
    """Return a sweep's name as the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", name)[:LONGEST_FOLDER].strip("-.") or "sweep"
