"""YAML as plain values: no tags, no anchors, no code, and one line of reason for whatever can't be read."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import yaml

from configs.settings import SettingsError

LARGEST_TEXT = 200_000  # characters: fifty times the settings of a run; PyYAML reads them in seconds
_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+\Z")


class _PlainLoader(yaml.SafeLoader):
    """Loads scalars, lists and mappings only. Aliases could grow to any size or contain themselves."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        if getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(
                f"{_place(event)}anchors and aliases (& and *) are not read; write the value itself, in quotes if it is text"
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"{_place(event)}the tag {event.tag} is not read; quote the value if it is text")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice, of which YAML forbids both and PyYAML takes the last."""
        first: dict[object, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                name = self.construct_object(key)
                if name in first:
                    raise yaml.YAMLError(f"line {line}: {key.value} is there already, in line {first[name]}; leave one out")
                first[name] = line
        return super().construct_mapping(node, deep)


class _SettingsLoader(_PlainLoader):
    """Takes 1e-5 and 010 for the numbers that they are; YAML 1.1, which W&B reads sweep files by, has 1.0e-5, and 010 is 8."""

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(node.value)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]  # a day is a text here
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SettingsLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:int"]
    for first, resolvers in _PlainLoader.yaml_implicit_resolvers.items()
}
_SettingsLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?\d+\Z", re.ASCII), list("-+0123456789"))
_SettingsLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_SettingsLoader.add_constructor("tag:yaml.org,2002:int", _SettingsLoader.construct_decimal)


def read_yaml(text: str, *, exponents: bool) -> tuple[Any, yaml.Node | None]:
    """Read a document of plain values.

    Args:
        text: the document.
        exponents: whether ``1e-5`` is a number.

    Returns:
        The values, and their nodes, which know their lines.

    Raises:
        ValueError: it can't be read, or a string in it holds control characters; the message is one line.
    """
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"it has more than {LARGEST_TEXT} characters")
    try:
        loader = (_SettingsLoader if exponents else _PlainLoader)(text)
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
        _check_characters(node)
    except yaml.YAMLError as problem:
        raise ValueError(" ".join(str(problem).split())) from problem
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem
    except OverflowError as problem:
        raise ValueError(str(problem)) from problem
    return content, node


def read_yaml_file(file: Path, *, exponents: bool) -> tuple[Any, yaml.Node | None]:
    """Read a file of plain values, as ``read_yaml``. Raises SettingsError, which names the file, where it can't be read."""
    try:
        if file.exists() and not file.is_file():
            raise SettingsError(f"{file} can't be read: it is no file")  # a device has no end, and a pipe may never have one
        with file.open(encoding="utf-8") as stream:
            text = stream.read(LARGEST_TEXT + 1)
    except OSError as problem:
        raise SettingsError(f"{file} can't be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise SettingsError(f"{file} can't be read: it is no text") from problem
    try:
        return read_yaml(text, exponents=exponents)
    except ValueError as problem:
        raise SettingsError(f"{file} is not valid YAML: {problem}") from problem


def control_character(text: str) -> str | None:
    """Return the first control character or lone surrogate of a text, as it is written in Python; None without any."""
    return next((repr(each)[1:-1] for each in text if unicodedata.category(each) in ("Cc", "Cs")), None)


def _place(part: yaml.Event | yaml.Node) -> str:
    """Return the line of a part of a document as the beginning of a message; nothing where the document is one line."""
    mark = part.start_mark
    return f"line {mark.line + 1}: " if mark is not None and "\n" in (mark.buffer or "") else ""


def _check_characters(node: yaml.Node | None) -> None:
    """Raise ValueError where a string or key holds a control character that a text file wouldn't."""
    match node:
        case yaml.ScalarNode():
            if found := control_character(node.value.replace("\n", "").replace("\t", "")):
                raise ValueError(f"{_place(node)}a text in it holds the character {found}")
        case yaml.MappingNode():
            for key, value in node.value:
                _check_characters(key)
                _check_characters(value)
        case yaml.SequenceNode():
            for value in node.value:
                _check_characters(value)
