"""What settings must hold beyond their types: choices, bounds, and combinations that make sense."""

import os
import re
from operator import attrgetter

from configs.settings import Settings, SettingsError, fields
from configs.yaml_reader import control_character

LONGEST_NAME = 200  # bytes: a file system takes 255, and names get endings


def validate(settings: Settings) -> None:
    """Raise SettingsError for a value outside its choices or bounds, a text with no such use, an impossible combination."""
    validate_values(settings)
    _check_combinations(settings)


def validate_values(settings: Settings) -> None:
    """Raise SettingsError for a value that is wrong whatever the others are."""
    _check_choices(settings)
    _check_bounds(settings)
    _check_text(settings)


def _check_choices(settings: Settings) -> None:
    for key, entry in fields():
        value, choices = attrgetter(key)(settings), entry.metadata["choices"]
        if choices and value not in choices:
            raise SettingsError(f"{key}={value}: choose one of {', '.join(choices)}")


def _check_bounds(settings: Settings) -> None:
    for key, entry in fields():
        value, bounds = attrgetter(key)(settings), entry.metadata["bounds"]
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        if bounds and not all(number in bounds for number in numbers):
            raise SettingsError(f"{key}={value}: it must be {bounds}")


def _check_text(settings: Settings) -> None:
    """Refuse a path with a line break, a name that leads out of its folder, and devices that are no list of numbers."""
    for key, _ in fields():
        value = attrgetter(key)(settings)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (found := control_character(text)):
                raise SettingsError(f"{key}={text}: it holds the character {found}")
    name = settings.name
    if name is not None and (name != name.strip() or name in ("", ".", "..") or {"/", "\\"} & set(name)):
        raise SettingsError(f"name={name}: it names one folder inside runs={settings.runs}; for another place, set runs=FOLDER")
    if name is not None and len(os.fsencode(name)) > LONGEST_NAME:
        raise SettingsError(f"name={name}: it must have at most {LONGEST_NAME} bytes")
    devices = settings.trainer.devices
    if not re.fullmatch(r"auto|-1|\[?\d{1,4}(, ?\d{1,4})*,?\]?", devices):
        raise SettingsError(f"trainer.devices={devices}: it must be auto, a number, or a list of numbers such as 0,1")


def _check_combinations(settings: Settings) -> None:
    data, model = settings.data, settings.model
    if data.name == "folder" and not data.root:
        raise SettingsError("data=folder: say where your images are with data.root=DIR, which holds a folder for each class")
    if model.streams == 2 and model.name != "alexnet":
        raise SettingsError(f"model.streams=2: only AlexNet has two streams, not {model.name}; leave it at 1")
    if (model.conv1_size, model.conv1_stride) != (11, 4) and model.name != "alexnet":
        raise SettingsError(f"model.conv1_size, model.conv1_stride: {model.name} has its own; they are for model=alexnet")
    if model.pooling == "l2" and (data.image_size is not None or data.train_sizes):
        raise SettingsError(
            "model.pooling=l2 takes images of the architecture's own size only; add data.image_size=null data.train_sizes=[]"
        )
    viz = settings.viz
    if viz.every_n_epochs and viz.log_every_n_epochs % viz.every_n_epochs:
        raise SettingsError(
            f"viz.log_every_n_epochs={viz.log_every_n_epochs}: pictures are made every {viz.every_n_epochs} epochs "
            "(viz.every_n_epochs); take a multiple of that"
        )
