"""The command of a trial, from a sweep file's ``command`` and its macros, word for word as W&B's agent writes them."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from configs import SettingsError
from configs.files import atomic_write_text
from trials.mistakes import hint
from trials.sweep_file import Sweep


def trial_command(sweep: Sweep, values: Mapping[str, Any], arguments_file: Path) -> list[str]:
    """Return the command that starts a trial with these values, as a list of arguments.

    ``${interpreter}`` is the Python that runs this, where the agent takes the first ``python`` of the PATH.

    Args:
        sweep: the sweep, whose ``command`` is filled in.
        values: the value of each parameter, by its key.
        arguments_file: that of ``${args_json_file}``, see ``write_arguments``.

    Raises:
        SettingsError: a macro that isn't known, or an environment variable that isn't set.
    """
    pairs = [f"{key}={value}" for key, value in values.items()]
    macros = {
        "${env}": ["/usr/bin/env"] if os.name == "posix" else [],
        "${interpreter}": [sys.executable],
        "${program}": [sweep.program],
        "${args}": [f"--{pair}" for pair in pairs],
        "${args_no_hyphens}": pairs,
        "${args_no_equals}": [argument for key, value in values.items() for argument in (f"--{key}", str(value))],
        "${args_no_boolean_flags}": [
            f"--{key}" if value is True else f"--{key}={value}" for key, value in values.items() if value is not False
        ],
        "${args_append_hydra}": [f"+{pair}" for pair in pairs],
        "${args_override_hydra}": [f"++{pair}" for pair in pairs],
        "${args_json}": [json.dumps(dict(values))],
        "${args_json_file}": [str(arguments_file)],
    }
    command = []
    for part in sweep.command:
        if part in macros:
            command += macros[part]
        else:
            command.append(re.sub(r"\$\{([^}]*)\}", lambda macro: _environment_variable(sweep, macro[1], macros), part))
    return command


def write_arguments(sweep: Sweep, values: Mapping[str, Any], arguments_file: Path) -> None:
    """Write the file of ``${args_json_file}`` where the command has it."""
    if "${args_json_file}" in sweep.command:
        atomic_write_text(arguments_file, json.dumps(dict(values)))


def _environment_variable(sweep: Sweep, macro: str, known: Iterable[str]) -> str:
    """Return the value of the variable that the macro ``envvar:NAME`` names."""
    kind, _, name = macro.partition(":")
    if kind != "envvar":
        meant = hint(f"${{{macro}}}", known)
        raise SettingsError(f"{sweep.locate(('command',))}: command: ${{{macro}}} is not known here; {meant}")
    if name not in os.environ:
        raise SettingsError(f"{sweep.locate(('command',))}: command: the environment variable {name} is not set")
    return os.environ[name]
