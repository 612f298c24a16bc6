"""Whether the trainings of a sweep can be started as its file says: asked before the first of them is.

Each value of each parameter is read by the parser of ``train.py`` from the words that a trial's command has for it; then whole
trials are, as some values are wrong only together. Of a program that isn't this project's ``train.py`` nothing is known but
whether it is there.
"""

import itertools
import math
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import configs
from configs import Settings, SettingsError
from configs.parser import check_arguments, parse, split
from trials.command import trial_command
from trials.metric_names import explain_unknown_metric, why_not_logged
from trials.mistakes import Mistakes, hint
from trials.parameters import Number, Parameter
from trials.sweep_file import Sweep

TRAIN = Path(configs.__file__).parents[1] / "train.py"
WHOLE_TRIALS = 500  # are read at most, which takes ten seconds; of more, so many drawn at random
SET_BY_THE_SWEEP = ("resume", "runs", "name")
SHARES = (0.001, 0.5, 0.999)  # of a distribution, at which its numbers are tried: hardly any are smaller or greater


def check_sweep(sweep: Sweep, overrides: Sequence[str] = ()) -> None:
    """Check that the trials of a sweep can be started.

    Args:
        sweep: the file.
        overrides: further arguments of each training.

    Raises:
        SweepFileError: they can't; it holds all mistakes.
    """
    mistakes = Mistakes(sweep.file, sweep.lines)
    with mistakes.collect():
        _check_program(sweep, mistakes)
    with mistakes.collect():
        _check_command(sweep, mistakes)
    mistakes.raise_found()
    if _training_position(trial_command(sweep, {}, Path("arguments.json"))) is not None:
        with mistakes.collect():
            if problem := explain_unknown_metric(sweep.metric.name):
                mistakes.refuse(("metric", "name"), problem)
        _check_values(sweep, overrides, mistakes)
        mistakes.raise_found()
        _check_trials(sweep, overrides, mistakes)
        mistakes.raise_found()


def _check_program(sweep: Sweep, mistakes: Mistakes) -> None:
    program = Path(sweep.program)
    if "${program}" in sweep.command and not program.is_file():
        near = [str(program.parent / file.name) for file in program.parent.glob("*.py")]
        advice = hint(sweep.program, near) if near else f"it is looked for from {Path.cwd()}"
        mistakes.refuse(("program",), f"there is no file {program}; {advice}")


def _check_command(sweep: Sweep, mistakes: Mistakes) -> None:
    """Refuse macros that aren't known and a first word that can't be started."""
    first = trial_command(sweep, {}, Path("arguments.json"))[0]
    if shutil.which(first) is None:
        mistakes.refuse(("command",), f"{first} can't be started: there is no such program")


def _check_values(sweep: Sweep, overrides: Sequence[str], mistakes: Mistakes) -> None:
    """Collect the mistakes of each argument by itself."""
    fixed = _arguments(sweep, {})
    with mistakes.collect():
        _check(fixed, f"{sweep.locate(('command',))}: command: ")
    with mistakes.collect():
        _check(overrides, "")
    for key, parameter in sweep.parameters.items():
        place = sweep.places[key]
        for number, value in enumerate(_values(parameter)):
            words = [word for word in _arguments(sweep, {key: value}) if word not in fixed]
            with mistakes.collect():
                _check(words, f"{sweep.locate((*place, 'values', str(number)))}: ")


def _check(arguments: Sequence[str], origin: str) -> None:
    try:
        check_arguments(list(arguments))
    except SettingsError as mistake:
        raise SettingsError(f"{origin}{mistake}") from mistake
    if own := [key for key, _ in split(list(arguments)) if key in SET_BY_THE_SWEEP]:
        raise SettingsError(f"{origin}{own[0]}: each trial is a run of its own, which the sweep names; leave it out")


def _check_trials(sweep: Sweep, overrides: Sequence[str], mistakes: Mistakes) -> None:
    """Collect the mistakes of values that are wrong together, and of a metric that some trial doesn't log."""
    for values in _trials(sweep.parameters):
        with mistakes.collect():
            try:
                settings = parse([*_arguments(sweep, values), *overrides])
            except SettingsError as mistake:
                raise SettingsError(f"{sweep.locate(('parameters',))}: parameters: {mistake}") from mistake
            _check_metric(sweep, settings, mistakes)


def _check_metric(sweep: Sweep, settings: Settings, mistakes: Mistakes) -> None:
    if reason := why_not_logged(sweep.metric.name, settings):
        mistakes.refuse(("metric",), f"{sweep.metric.name}: {reason}")


def _trials(parameters: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Yield the values of all trials, or of so many drawn at random."""
    values = {key: _values(parameter) for key, parameter in parameters.items()}
    if math.prod(map(len, values.values())) <= WHOLE_TRIALS:
        yield from (dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values()))
    else:
        generator = random.Random(0)
        yield from ({key: generator.choice(each) for key, each in values.items()} for _ in range(WHOLE_TRIALS))


def _values(parameter: Parameter) -> Sequence[Any]:
    return [parameter.at(share) for share in SHARES] if isinstance(parameter, Number) else parameter.values


def _arguments(sweep: Sweep, values: Mapping[str, Any]) -> list[str]:
    """Return what a trial with these values gives its program."""
    command = trial_command(sweep, values, Path("arguments.json"))
    return command[(_training_position(command) or 0) + 1 :]


def _training_position(command: Sequence[str]) -> int | None:
    """Return which word of a command is this project's ``train.py``, None where it starts something else."""
    return next((number for number, word in enumerate(command) if Path(word).resolve() == TRAIN.resolve()), None)
