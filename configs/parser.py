"""The command line: ``group=preset`` and ``dotted.key=value`` over typed defaults.

Order, later wins: defaults of the dataclasses < ``--config FILE`` < presets of the groups named < dotted keys.
A preset is a small YAML file in ``configs/presets/<group>/`` that may set any key.
"""

import dataclasses
import typing
from operator import attrgetter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.files import atomic_write_text
from configs.hints import REMOVED, RENAMED, explain_unknown, suggest
from configs.settings import Settings, SettingsError, fields
from configs.validation import validate, validate_values
from configs.yaml_reader import read_yaml, read_yaml_file

PRESETS = Path(__file__).parent / "presets"
GROUPS = ("recipe", "model", "data", "logger")
DEFAULT_PRESETS = {"recipe": "fast", "model": "alexnet", "data": "caltech101", "logger": "wandb"}
_KNOWN = {key for key, _ in fields()}
_TEXTS = {key for key, entry in fields() if entry.type in (str, str | None)}
_MAY_BE_NONE = {key for key, entry in fields() if type(None) in typing.get_args(entry.type) and key != "resume"}
_LISTS_OF_TEXTS = {key for key, entry in fields() if entry.type == list[str]}


def parse(arguments: list[str], base: Settings | None = None) -> Settings:
    """Read the settings from the command line's arguments.

    No value may refer to another or to the environment: OmegaConf would fill in what ``${...}`` names, such as a secret, and
    the settings are recorded. References are refused in the values as they were parsed, whatever escapes they were written
    with, before OmegaConf sees them.

    Args:
        arguments: those after ``train.py``: ``group=preset``, ``dotted.key=value``, ``--config FILE``.
        base: the settings to change, of which presets not named stay out; None for the defaults.

    Raises:
        SettingsError: an unknown key, a value of the wrong type or out of range, an unreadable file.
    """
    pairs = split(arguments)
    presets = {key: value for key, value in pairs if _names_preset(key, value)}
    files = [value for key, value in pairs if key == "config"]

    config = _structured(base or Settings())
    for file in files:
        _set(config, _load(Path(file).expanduser()), f"{file}: ")
    for group in GROUPS:
        if group in presets or not (files or base):
            _set(config, preset(group, presets.get(group, DEFAULT_PRESETS[group])), "")
    for key, value in pairs:
        if key != "config" and not _names_preset(key, value):
            _set(config, _read_value(key, value), "")
    settings = typing.cast(Settings, OmegaConf.to_object(config))
    validate(settings)
    if settings.data.seed == -1:
        settings.data.seed = settings.seed
    return settings


def check_arguments(arguments: list[str]) -> None:
    """Raise SettingsError for the first argument that is wrong whatever stands beside it: its key, its value, its file."""
    for key, value in split(arguments):
        config = _structured(Settings())
        if key == "config":
            changes = _load(Path(value).expanduser())
        else:
            changes = preset(key, value) if _names_preset(key, value) else _read_value(key, value)
        _set(config, changes, "")
        validate_values(typing.cast(Settings, OmegaConf.to_object(config)))


def split(arguments: list[str]) -> list[tuple[str, str]]:
    """Return the arguments as keys and values, both as typed. Raises SettingsError for one that is no ``key=value``."""
    return [_split_argument(argument) for argument in _join_config(arguments)]


def settings_from(content: dict[str, Any], origin: str) -> Settings:
    """Return the settings that a checkpoint holds, see ``plain``. Raises SettingsError, which begins with ``origin``."""
    config = _structured(Settings())
    leaves = {RENAMED.get(key, key): value for key, value in _leaves(content).items() if key not in REMOVED}
    _set(config, leaves | {"resume": None}, f"{origin}: ")
    settings = typing.cast(Settings, OmegaConf.to_object(config))
    validate(settings)
    return settings


def preset(group: str, name: str) -> dict[str, Any]:
    """Return what a preset sets, by dotted key. Raises SettingsError where there is none of that name."""
    return _load(_preset_file(group, name))


def load_settings(file: Path) -> Settings:
    """Read the settings that a run saved in its ``config.yaml``. Raises SettingsError when not all can be read.

    A file that was cut off between two lines still is YAML; but it lacks ``resume``, which ``save_settings`` writes last.
    """
    settings = parse([f"config={file}"])
    content, _ = read_yaml_file(file, exponents=True)
    if "resume" not in content:
        raise SettingsError(f"{file} is cut off: its last line, resume, is missing")
    return settings


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
    """Return the arguments with each ``--config FILE`` as one of them, ``config=FILE``."""
    joined = list(arguments)
    while "--config" in joined[:-1]:
        position = joined.index("--config")
        joined[position : position + 2] = [f"config={joined[position + 1]}"]
    return joined


def _split_argument(argument: str) -> tuple[str, str]:
    key, equals, value = argument.removeprefix("--").partition("=")
    if not equals or not key:
        meant = suggest(key)
        hint = f"did you mean {meant}=VALUE?" if meant else "python train.py --help shows every key"
        raise SettingsError(f"{argument!r} is not key=value; {hint}")
    if not value:
        hint = f"{key}=null is none at all" if key in _MAY_BE_NONE else f"give it one, or leave {key}= out"
        raise SettingsError(f"{key}=: there is no value; {hint}")
    return key, value


def _names_preset(key: str, value: str) -> bool:
    """Return whether ``key=value`` takes a preset; ``model={'dropout': 0}`` sets settings."""
    return key in GROUPS and not value.startswith("{")


def _read_value(key: str, text: str) -> dict[str, Any]:
    """Return the settings that ``key=text`` sets.

    A setting that is a text takes it as it was typed, such as ``007``, ``@me`` or ``lr: coarse``; only quotes around all of it
    go, which W&B's agent and people write.
    """
    if key in _TEXTS and not (len(text) > 1 and text[0] == text[-1] and text[0] in "'\""):
        return {key: None if text in ("null", "None", "~") else text}
    try:
        value, _ = read_yaml("null" if text == "None" else text, exponents=True)
    except ValueError as problem:
        raise SettingsError(f"{key}={text}: the value is not valid YAML: {problem}") from problem
    if isinstance(value, dict):  # several settings of a group at once: optim={'lr': 0.1}
        return _leaves(value, key)
    if isinstance(value, bool | int | float) and key in _LISTS_OF_TEXTS:
        value = text
    return {key: value}


def _preset_file(group: str, name: str) -> Path:
    if name not in preset_names(group):
        raise SettingsError(f"{group}={name}: choose one of {', '.join(preset_names(group))}")
    return PRESETS / group / f"{name}.yaml"


def _load(file: Path) -> dict[str, Any]:
    """Return the settings in a file, by dotted key, but not what the run that saved it had resumed."""
    content, _ = read_yaml_file(file, exponents=True)
    if not isinstance(content, dict):
        raise SettingsError(f"{file} is not a mapping of settings")
    settings = _leaves(content)
    if old := [key for key in (*RENAMED, *REMOVED) if key in settings]:
        raise SettingsError(f"{file}: {'; '.join(map(explain_unknown, old))}; change that in the file")
    settings.pop("resume", None)
    return settings


def _leaves(content: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return what nested mappings hold as one level of dotted keys."""
    leaves: dict[str, Any] = {}
    for name, value in content.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        leaves |= _leaves(value, key) if isinstance(value, dict) else {key: value}
    return leaves


def _structured(settings: Settings) -> DictConfig:
    """Return settings as OmegaConf checks them, with no references in those that come from the environment."""
    for key, value in flat(settings).items():
        _refuse_references(value, f"{key}, from the environment")
    config: DictConfig = OmegaConf.structured(settings)
    return config


def _set(config: DictConfig, changes: dict[str, Any], origin: str) -> None:
    """Set settings by dotted key. Raises SettingsError, which begins with ``origin``, for what they can't be set to."""
    for key, value in changes.items():
        if key not in _KNOWN:
            raise SettingsError(f"{origin}{explain_unknown(key)}")
        _refuse_references(value, f"{origin}{key}={value}")
        try:
            OmegaConf.update(config, key, value)
        except (OmegaConfBaseException, ValueError, OverflowError) as problem:
            raise SettingsError(f"{origin}{key}={value}: {(str(problem).splitlines() or ['not possible'])[0]}") from problem


def _refuse_references(value: Any, origin: str) -> None:
    if isinstance(value, list):
        for each in value:
            _refuse_references(each, origin)
    elif isinstance(value, str) and ("${" in value or value == "???"):  # OmegaConf's references, and its mark of a gap
        raise SettingsError(f"{origin}: references such as ${{...}} are not read; write the value itself")
