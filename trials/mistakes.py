"""Mistakes in a sweep file: all of them are collected, each as one line that names where it is."""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from configs import SettingsError

KeyPath = tuple[str, ...]
"""The keys that lead to a place in a file, and the numbers of values in lists, from 0."""

Parsed = TypeVar("Parsed")


class SweepFileError(SettingsError):
    """What is wrong with a sweep file. ``mistakes`` holds a line for each mistake."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(str(SettingsError(mistake)) for mistake in mistakes)


class Mistakes:
    """Collects the mistakes in a file.

    Args:
        file: where they are.
        lines: the line of each place in it.
    """

    def __init__(self, file: Path, lines: Mapping[KeyPath, int]) -> None:
        self.file = file
        self.lines = lines
        self.found: list[str] = []

    def locate(self, path: KeyPath) -> str:
        """Return file and line of a place, or of the nearest one around it that is in the file."""
        line = next(self.lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in self.lines)
        return f"{self.file}, line {line}"

    def refuse(self, path: KeyPath, reason: str) -> NoReturn:
        """Raise SettingsError for the value at a place."""
        raise SettingsError(f"{self.locate(path)}: {': '.join((*path, reason))}")

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Keep the SettingsError that is raised within, and go on."""
        try:
            yield
        except SettingsError as mistake:
            self.found.append(str(mistake))

    def attempt(self, parse: Callable[[], Parsed]) -> Parsed | None:
        """Return what ``parse`` returns, or None where it finds a mistake, which is kept."""
        with self.collect():
            return parse()
        return None

    def raise_found(self) -> None:
        """Raise SweepFileError if there were mistakes. What is wrong in several ways alike is said once."""
        if self.found:
            raise SweepFileError(list(dict.fromkeys(self.found)))


def hint(word: str, known: Iterable[str], most: int = 20) -> str:
    """Return the known word that was most likely meant as ``did you mean X?``, or where none is near the first known ones."""
    words = list(known)
    close = difflib.get_close_matches(word, words, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(words[:most])}"
