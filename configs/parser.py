"""The command line: ``group=preset`` and ``dotted.key=value`` over typed defaults.

Order, later wins: defaults of the dataclasses < ``--config FILE`` < presets of the groups named < dotted keys.
A preset is a small YAML file in ``configs/presets/<group>/`` that may set any key.
"""

import dataclasses
import difflib
import typing
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.files import atomic_write_text
from configs.settings import Settings, SettingsError, fields
from configs.validation import validate

PRESETS = Path(__file__).parent / "presets"
GROUPS = ("recipe", "model", "data", "logger")
DEFAULT_PRESETS = {"recipe": "fast", "model": "alexnet", "data": "caltech101", "logger": "wandb"}
RENAMED = {"viz.answers": "viz.sensitivity", "viz.numbers": "viz.metrics", "viz.strongest": "viz.top_maps"}
"""Settings by the names that they once had: command lines, sweeps and config files of that time may still hold them."""


def parse(arguments: list[str]) -> Settings:
    """Read the settings from the command line's arguments.

    Args:
        arguments: those after ``train.py``: ``group=preset``, ``dotted.key=value``, ``--config FILE``.

    Raises:
        SettingsError: an unknown key, a value of the wrong type or out of range, an unreadable file.
    """
    pairs = [_split_argument(argument) for argument in _join_config(arguments)]
    groups = {key: value for key, value in pairs if key in GROUPS}
    files = [value for key, value in pairs if key == "config"]
    dotted = [(key, value) for key, value in pairs if key not in (*GROUPS, "config")]

    config: DictConfig = OmegaConf.structured(Settings)
    for file in files:
        config = _merge(config, _load(Path(file).expanduser()), file)
    for group in GROUPS:
        if group in groups or not files:
            name = groups.get(group, DEFAULT_PRESETS[group])
            config = _merge(config, _load(_preset_file(group, name)), f"{group}={name}")
    for key, value in dotted:
        if not value.startswith("{"):  # several settings of a group at once: optim={'lr': 0.1}
            _check_key(key)
        config = _merge(config, _read_pair(key, value), f"{key}={value}")
    settings = typing.cast(Settings, OmegaConf.to_object(config))
    validate(settings)
    if settings.data.seed == -1:
        settings.data.seed = settings.seed
    return settings


def load_settings(file: Path) -> Settings:
    """Read the settings that a run saved in its ``config.yaml``. Raises SettingsError when they can't be read."""
    return parse([f"config={file}"])


def save_settings(settings: Settings, file: Path) -> None:
    """Write all settings as YAML, from which ``--config FILE`` repeats the run."""
    atomic_write_text(file, OmegaConf.to_yaml(OmegaConf.structured(settings)))


def flat(settings: Settings) -> dict[str, Any]:
    """Return the settings as one level of dotted keys: sweeps and single runs then share their columns in W&B."""
    return {key: attrgetter(key)(settings) for key, _ in fields()}


def plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as nested dictionaries of plain types, which a checkpoint may hold and still load safely."""
    return dataclasses.asdict(settings)


def preset_names(group: str) -> list[str]:
    """Return the names of a group's presets, the default first."""
    names = sorted(file.stem for file in (PRESETS / group).glob("*.yaml"))
    return sorted(names, key=lambda name: name != DEFAULT_PRESETS[group])


def help_text() -> str:
    """Return what ``--help`` shows: every key with its default, its choices and a line of explanation."""
    lines = [
        "python train.py [group=preset ...] [key=value ...] [--config FILE]",
        "",
        "Trains AlexNet or ZFNet and looks inside at every epoch by Deconvolution and DeNet.",
        "",
        "Groups",
        *(f"  {group + '=' + '|'.join(preset_names(group)):<41} default: {preset_names(group)[0]}" for group in GROUPS),
        "  --config FILE                             settings of an earlier run: RUN/config.yaml",
    ]
    section = None
    defaults = parse([])
    for key, entry in fields():
        if key.partition(".")[0] != section and "." in key:
            section = key.partition(".")[0]
            lines += ["", section]
        elif "." not in key and section != "":
            section = ""
            lines += ["", "run"]
        default, choices = attrgetter(key)(defaults), entry.metadata["choices"]
        shown = f"  {key}={'null' if default is None else default}"
        lines.append(f"{shown:<42}  {entry.metadata['help']}" + (f" ({' | '.join(choices)})" if choices else ""))
    return "\n".join(lines)


def _join_config(arguments: list[str]) -> list[str]:
    """Return the arguments with ``--config FILE`` as one of them, ``config=FILE``."""
    joined = list(arguments)
    if "--config" in joined[:-1]:
        position = joined.index("--config")
        joined[position : position + 2] = [f"config={joined[position + 1]}"]
    return joined


def _split_argument(argument: str) -> tuple[str, str]:
    key, equals, value = argument.removeprefix("--").partition("=")
    if not equals or not key:
        raise SettingsError(f"{argument!r} is not key=value; python train.py --help shows every key")
    if "${" in value:
        raise SettingsError(f"{argument}: references such as ${{...}} are not read; write the value itself")
    return key, value


def _read_pair(key: str, value: str) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([f"{key}={'null' if value == 'None' else value}"])
    except yaml.YAMLError as problem:
        raise SettingsError(f"{key}={value}: the value is not valid YAML: {_first_line(problem)}") from problem


def _preset_file(group: str, name: str) -> Path:
    if name not in preset_names(group):
        raise SettingsError(f"{group}={name}: choose one of {', '.join(preset_names(group))}")
    return PRESETS / group / f"{name}.yaml"


def _load(file: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(file)
    except yaml.YAMLError as problem:
        raise SettingsError(f"{file} is not valid YAML: {_first_line(problem)}") from problem
    except (OSError, ValueError, OmegaConfBaseException) as problem:
        raise SettingsError(f"{file} can't be read: {_first_line(problem)}") from problem
    if not isinstance(loaded, DictConfig):
        raise SettingsError(f"{file} is not a mapping of settings")
    if "${" in file.read_text():
        raise SettingsError(f"{file}: references such as ${{...}} are not read; write the value itself")
    if old := [key for key in RENAMED if _holds(loaded, key)]:
        raise SettingsError(f"{file}: {'; '.join(map(_explain_unknown, old))}; change that in the file")
    return loaded


def _holds(config: DictConfig, key: str) -> bool:
    group, _, name = key.partition(".")
    settings = config.get(group)
    return isinstance(settings, DictConfig) and name in settings


def _check_key(key: str) -> None:
    known = [name for name, _ in fields()]
    if key in known:
        return
    if any(name.startswith(f"{key}.") for name in known):
        raise SettingsError(f"{key} is a group of settings: set {key}.NAME=value; python train.py --help shows them")
    raise SettingsError(_explain_unknown(key))


def _explain_unknown(key: str) -> str:
    if key in RENAMED:
        return f"{key} is now called {RENAMED[key]}"
    known = {name: name for name, _ in fields()}
    by_last_part = {name.rpartition(".")[2]: name for name in known}
    for names, wanted in ((known, key), (by_last_part, key.rpartition(".")[2])):
        if close := difflib.get_close_matches(wanted, names, 1):
            return f"unknown setting {key}; did you mean {names[close[0]]}?"
    return f"unknown setting {key}; python train.py --help shows every key"


def _merge(config: DictConfig, change: DictConfig, origin: str) -> DictConfig:
    try:
        return typing.cast(DictConfig, OmegaConf.merge(config, change))
    except OmegaConfBaseException as problem:
        key = str(getattr(problem, "full_key", "") or "")
        known = [name for name, _ in fields()]
        if not key or key in known or any(name.startswith(f"{key}.") for name in known):
            raise SettingsError(f"{origin}: {_first_line(problem)}") from problem
        explanation = _explain_unknown(key)
        raise SettingsError(explanation if "=" in origin else f"{origin}: {explanation}") from problem


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
