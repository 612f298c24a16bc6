"""The command line: ``group=preset`` and ``dotted.key=value`` over typed defaults.

Order, later wins: defaults of the dataclasses < ``--config FILE`` < presets of the groups named < dotted keys.
A preset is a small YAML file in ``configs/<group>/`` that may set any key.
"""

import dataclasses
import difflib
import typing
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.files import atomic_write_text
from configs.settings import Settings, SettingsError

PRESETS = Path(__file__).parent / "presets"
GROUPS = ("recipe", "model", "data", "logger")
DEFAULT_PRESETS = {"recipe": "fast", "model": "alexnet", "data": "caltech101", "logger": "wandb"}


def parse(arguments: list[str]) -> Settings:
    """Settings from the words after ``train.py``.

    Raises:
        SettingsError: an unknown key, a value of the wrong type or out of range, an unreadable file.
    """
    pairs = [_pair(word) for word in _joined_config(arguments)]
    groups = {key: value for key, value in pairs if key in GROUPS}
    files = [value for key, value in pairs if key == "config"]
    dotted = [(key, value) for key, value in pairs if key not in (*GROUPS, "config")]

    config: Any = OmegaConf.structured(Settings)
    for file in files:
        config = _merge(config, _load(Path(file)), file)
    for group in GROUPS:
        if group in groups or not files:
            name = groups.get(group, DEFAULT_PRESETS[group])
            config = _merge(config, _load(_preset(group, name)), f"{group}={name}")
    for key, value in dotted:
        if not value.startswith("{"):  # several settings of a group at once: optim={'lr': 0.1}
            _check_key(key)
        word = f"{key}={value}"
        config = _merge(config, OmegaConf.from_dotlist([f"{key}={'null' if value == 'None' else value}"]), word)
    settings = typing.cast(Settings, OmegaConf.to_object(config))
    validate(settings)
    return settings


def load_settings(file: Path) -> Settings:
    """The settings that a run saved in its ``config.yaml``. Raises SettingsError when they can't be read."""
    return parse([f"config={file}"])


def save_settings(settings: Settings, file: Path) -> None:
    """Write all settings as YAML; ``--config FILE`` repeats the run."""
    atomic_write_text(file, OmegaConf.to_yaml(OmegaConf.structured(settings)))


def flat(settings: Settings) -> dict[str, Any]:
    """Settings as one level of dotted keys: sweeps and single runs then share their columns in W&B."""
    return {key: attrgetter(key)(settings) for key, _ in fields()}


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as nested dictionaries of plain types: what goes into a checkpoint, which then loads with weights_only."""
    return dataclasses.asdict(settings)


def preset_names(group: str) -> list[str]:
    """The presets of a group, the default first."""
    names = sorted(file.stem for file in (PRESETS / group).glob("*.yaml"))
    return sorted(names, key=lambda name: name != DEFAULT_PRESETS[group])


def fields(of: type = Settings, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every setting as (dotted key, dataclass field), in order of definition."""
    for entry in dataclasses.fields(of):
        if dataclasses.is_dataclass(entry.type):
            yield from fields(typing.cast(type, entry.type), f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", entry


def help_text() -> str:
    """What ``--help`` shows: every key with its default, its choices and a line of explanation."""
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
    defaults = Settings()
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


def validate(settings: Settings) -> None:
    """Raise SettingsError for a word that is not among the choices, a number out of range or an impossible combination."""
    for key, entry in fields():
        value, choices = attrgetter(key)(settings), entry.metadata["choices"]
        if choices and value not in choices:
            raise SettingsError(f"{key}={value}: choose one of {', '.join(choices)}")
    data, optim, model = settings.data, settings.optim, settings.model
    for key, holds, wanted in (
        ("optim.lr", optim.lr > 0, "above 0"),
        ("optim.momentum", 0 <= optim.momentum < 1, "from 0 to below 1"),
        ("optim.weight_decay", optim.weight_decay >= 0, "0 or more"),
        ("optim.warmup_epochs", optim.warmup_epochs >= 0, "0 or more"),
        ("optim.label_smoothing", 0 <= optim.label_smoothing < 1, "from 0 to below 1"),
        ("optim.clip", optim.clip >= 0, "0 or more"),
        ("optim.filter_radius", optim.filter_radius >= 0, "0 or more"),
        ("trainer.max_epochs", settings.trainer.max_epochs >= 1, "1 or more"),
        ("model.dropout", 0 <= model.dropout < 1, "from 0 to below 1"),
        ("model.streams", model.streams in (1, 2), "1 or 2"),
        ("model.conv1_size", 1 <= model.conv1_size <= 31, "from 1 to 31 pixels"),
        ("model.conv1_stride", 1 <= model.conv1_stride <= 8, "from 1 to 8 pixels"),
        ("data.test_fraction", 0 < data.test_fraction < 1, "between 0 and 1"),
        ("data.val_fraction", 0 <= data.val_fraction < 1, "from 0 to below 1"),
        ("data.train_per_class", data.train_per_class >= 1, "1 or more"),
        ("data.test_per_class", data.test_per_class >= 1, "1 or more"),
        ("data.batch_size", data.batch_size >= 1, "1 or more"),
        ("data.image_size", data.image_size is None or 67 <= data.image_size <= 1024, "from 67 to 1024 pixels"),
        ("data.train_sizes", all(67 <= size <= 1024 for size in data.train_sizes), "from 67 to 1024 pixels each"),
        ("data.workers", data.workers is None or data.workers >= 0, "0 or more"),
        ("data.crop_area", 0 < data.crop_area <= 1, "above 0, at most 1"),
        ("data.jitter", 0 <= data.jitter < 1, "from 0 to below 1"),
        ("data.cutmix", 0 <= data.cutmix <= 1, "from 0 to 1"),
        ("data.images_per_class", data.images_per_class >= 5, "5 or more"),
        ("viz.every_n_epochs", settings.viz.every_n_epochs >= 0, "0 or more"),
        ("viz.maps", settings.viz.maps >= 1, "1 or more"),
        ("viz.top_maps", settings.viz.top_maps >= 0, "0 or more"),
        ("seed", settings.seed >= 0, "0 or more"),
        ("data.seed", data.seed >= 0, "0 or more"),
    ):
        if not holds:
            raise SettingsError(f"{key}={attrgetter(key)(settings)}: it must be {wanted}")
    if model.streams == 2 and model.name != "alexnet":
        raise SettingsError(f"model.streams=2: only AlexNet has two streams, not {model.name}; leave it at 1")
    if (model.conv1_size, model.conv1_stride) != (11, 4) and model.name != "alexnet":
        raise SettingsError(f"model.conv1_size, model.conv1_stride: {model.name} has its own; they are for model=alexnet")
    if model.pooling == "l2" and (data.image_size is not None or data.train_sizes):
        raise SettingsError(
            "model.pooling=l2 takes images of the architecture's own size only; add data.image_size=null data.train_sizes=[]"
        )


def _joined_config(arguments: list[str]) -> list[str]:
    """``--config FILE`` as one word."""
    words = list(arguments)
    for position, word in enumerate(words[:-1]):
        if word == "--config":
            words[position : position + 2] = [f"config={words[position + 1]}"]
            break
    return words


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.removeprefix("--").partition("=")
    if not equals or not key:
        raise SettingsError(f"{word!r} is not key=value; python train.py --help shows every key")
    if "${" in value:
        raise SettingsError(f"{word}: references such as ${{...}} are not read; write the value itself")
    return key, value


def _preset(group: str, name: str) -> Path:
    if name not in preset_names(group):
        raise SettingsError(f"{group}={name}: choose one of {', '.join(preset_names(group))}")
    return PRESETS / group / f"{name}.yaml"


def _load(file: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(file)
    except (OSError, ValueError, OmegaConfBaseException) as problem:
        raise SettingsError(f"{file} can't be read: {_first_line(problem)}") from problem
    except Exception as problem:  # the YAML parser's own errors share no base class with the above
        raise SettingsError(f"{file} is not valid YAML: {_first_line(problem)}") from problem
    if not isinstance(loaded, DictConfig):
        raise SettingsError(f"{file} is not a mapping of settings")
    if "${" in file.read_text():
        raise SettingsError(f"{file}: references such as ${{...}} are not read; write the value itself")
    return loaded


def _check_key(key: str) -> None:
    known = [name for name, _ in fields()]
    if key in known:
        return
    if any(name.startswith(f"{key}.") for name in known):
        raise SettingsError(f"{key} is a group of settings: set {key}.NAME=value; python train.py --help shows them")
    _unknown(key, known)


def _unknown(key: str, known: list[str]) -> NoReturn:
    last_parts = {name.rpartition(".")[2]: name for name in known}
    close = difflib.get_close_matches(key, known, 1) or [
        last_parts[part] for part in difflib.get_close_matches(key.rpartition(".")[2], last_parts, 1)
    ]
    hint = f"did you mean {close[0]}?" if close else "python train.py --help shows every key"
    raise SettingsError(f"unknown setting {key}; {hint}")


def _merge(config: Any, change: Any, origin: str) -> Any:
    try:
        return OmegaConf.merge(config, change)
    except OmegaConfBaseException as problem:
        key = str(getattr(problem, "full_key", "") or "")
        known = [name for name, _ in fields()]
        if key and key not in known and not any(name.startswith(f"{key}.") for name in known):
            try:
                _unknown(key, known)
            except SettingsError as unknown:
                raise SettingsError(f"{origin}: {unknown}" if "=" not in origin else str(unknown)) from problem
        raise SettingsError(f"{origin}: {_first_line(problem)}") from problem


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
