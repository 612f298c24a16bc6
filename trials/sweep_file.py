"""W&B's sweep files, read: what is no sweep, or can't be done here, is refused with its line and the reason.

Whether the trainings can be started as it says is asked by ``trials.check``.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configs import SettingsError
from configs.yaml_reader import read_yaml_file
from trials.mistakes import KeyPath, Mistakes, hint
from trials.objective import LARGEST_COUNT, Metric, is_count, parse_hyperband, parse_metric
from trials.parameters import LARGEST_GRID, Choice, Number, Parameter, parse_parameter

TEXTS = ("name", "program", "project", "entity", "description")
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")  # as W&B has it
KNOWN = {
    "program", "method", "metric", "parameters", "name", "description", "project", "entity", "command", "run_cap",
    "early_terminate",
}  # fmt: skip
METHODS = ("grid", "random", "bayes")
LONGEST_FOLDER = 60  # letters, of up to four bytes each: a file system takes 255 bytes


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
        places: where in the file each parameter is.
        lines: of the places in the file.
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
    places: Mapping[str, KeyPath]
    lines: Mapping[KeyPath, int]

    def locate(self, place: KeyPath) -> str:
        """Return the file and the line of a place in it."""
        return Mistakes(self.file, self.lines).locate(place)

    @property
    def varied(self) -> list[str]:
        """Return the keys of the parameters that take more than one value."""
        return [key for key, entry in self.parameters.items() if isinstance(entry, Number) or len(entry.values) > 1]


def read_sweep(file: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        SettingsError: it can't be read.
        SweepFileError: something in it is wrong or can't be done without a server.
    """
    definition, lines = _load(file)
    mistakes = Mistakes(file, lines)
    for key in definition:
        with mistakes.collect():
            if key not in KNOWN:
                mistakes.refuse((str(key),), f"not known here; {hint(str(key), sorted(KNOWN))}")
    method = mistakes.attempt(lambda: _parse_method(definition, mistakes))
    parameters: dict[str, Parameter] = {}
    places: dict[str, KeyPath] = {}
    with mistakes.collect():
        if "parameters" not in definition:
            mistakes.refuse((), "parameters is missing")
        for key, place, entry in _parameter_entries(definition["parameters"], ("parameters",), "", mistakes):
            with mistakes.collect():
                parameters[key] = _parse_parameter(key, place, entry, method == "grid", places, mistakes)
                places[key] = place
        trials = math.prod(len(entry.values) for entry in parameters.values() if isinstance(entry, Choice))
        if method == "grid" and trials > LARGEST_GRID:
            reason = f"a grid of {trials} trials; at most {LARGEST_GRID}: take fewer values, or method: random"
            mistakes.refuse(("parameters",), reason)
    texts: dict[str, str | None] = {}
    for key in TEXTS:
        with mistakes.collect():
            texts[key] = _text(definition, key, mistakes)
    metric = mistakes.attempt(lambda: parse_metric(definition.get("metric"), method, mistakes))
    command = mistakes.attempt(lambda: _parse_command(definition.get("command"), mistakes))
    hyperband = mistakes.attempt(lambda: parse_hyperband(definition.get("early_terminate"), mistakes))
    mistakes.raise_found()
    assert method
    assert metric
    assert command
    return Sweep(
        file=file,
        name=texts["name"] or file.stem,
        program=texts["program"] or "train.py",
        method=method,
        metric=metric,
        parameters=parameters,
        command=command,
        run_cap=definition.get("run_cap"),
        hyperband=hyperband,
        project=texts["project"],
        entity=texts["entity"],
        description=texts["description"],
        definition=definition,
        places=places,
        lines=lines,
    )


def _load(file: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """Return the content of a YAML file, and the line of each of its keys."""
    content, node = read_yaml_file(file, exponents=False)
    if not isinstance(content, dict):
        raise SettingsError(f"{file} is no sweep: it needs program, method and parameters")
    return content, _line_numbers(node)


def _text(definition: dict[str, Any], key: str, mistakes: Mistakes) -> str | None:
    value = definition.get(key)
    if isinstance(value, dict | list) or (isinstance(value, str) and not value.strip()):
        mistakes.refuse((key,), "must be a text, which is not empty")
    return None if value is None else str(value)


def _parse_command(entry: Any, mistakes: Mistakes) -> tuple[str, ...]:
    if entry is None:
        return DEFAULT_COMMAND
    if not isinstance(entry, list) or not entry or any(isinstance(part, dict | list) or part is None for part in entry):
        mistakes.refuse(("command",), "must be a list of words, such as ${interpreter}, ${program} and ${args}")
    command = tuple(map(str, entry))
    arguments = next((number for number, part in enumerate(command) if part.startswith("${args")), len(command))
    if all(part in ("${env}", "${interpreter}") for part in command[:arguments]):
        mistakes.refuse(("command",), "names no program: put ${program} before the arguments")
    if arguments == len(command):
        mistakes.refuse(("command",), "passes no parameter on: put ${args} after ${program}")
    return command


def _parse_method(definition: dict[str, Any], mistakes: Mistakes) -> str:
    """Return the method of a search that has an end."""
    if "method" not in definition:
        mistakes.refuse((), "method is missing")
    method, run_cap = definition["method"], definition.get("run_cap")
    if method not in METHODS:
        mistakes.refuse(("method",), f"{method} is none; {hint(str(method), METHODS)}")
    if run_cap is not None and not is_count(run_cap, 1):
        mistakes.refuse(("run_cap",), f"must be a whole number from 1 to {LARGEST_COUNT}")
    if run_cap is None and method != "grid":
        mistakes.refuse(("method",), f"a {method} search has no end of its own: add run_cap, the number of trials")
    return str(method)


def _parameter_entries(entries: Any, path: KeyPath, prefix: str, mistakes: Mistakes) -> Iterator[tuple[str, KeyPath, Any]]:
    """Yield each parameter's key, its place and its entry; those of nested entries under dotted keys."""
    if not isinstance(entries, dict) or not entries:
        mistakes.refuse(path, "needs at least one parameter")
    for name, entry in entries.items():
        key, place = f"{prefix}{name}", (*path, str(name))
        with mistakes.collect():
            if not isinstance(name, str) or not name:
                mistakes.refuse(place, "a parameter's name is a text, such as optim.lr")
            if not isinstance(entry, dict):
                mistakes.refuse(place, "write value: or values: below it")
            if "parameters" not in entry:
                yield key, place, entry
                continue
            if len(entry) > 1:
                mistakes.refuse(place, "parameters stands alone in a nested entry")
            yield from _parameter_entries(entry["parameters"], (*place, "parameters"), f"{key}.", mistakes)


def _parse_parameter(
    key: str, place: KeyPath, entry: dict[str, Any], grid: bool, places: Mapping[str, KeyPath], mistakes: Mistakes
) -> Parameter:
    if key in places:
        mistakes.refuse(place, f"{key} is there twice")
    try:
        return parse_parameter(entry, grid)
    except ValueError as error:
        mistakes.refuse(place, str(error))


def _line_numbers(node: yaml.Node | None, path: KeyPath = ()) -> dict[KeyPath, int]:
    """Return the line, from 1, of each key and each value of a list in a document, by what leads to it."""
    if node is None:
        return {(): 1}
    lines = {path: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            # As Python writes what was read: the key 010 is 8.
            plain = key.tag.rpartition(":")[2] in ("int", "float", "bool", "null")
            name = str(yaml.safe_load(key.value)) if plain else str(key.value)
            lines |= _line_numbers(value, (*path, name))
            lines[(*path, name)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines |= _line_numbers(value, (*path, str(number)))
    return lines


def folder_name(name: str) -> str:
    """Return a sweep's name as the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", name)[:LONGEST_FOLDER].strip("-.") or "sweep"
