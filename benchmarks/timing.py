"""Two ways to do the same, timed in turns in one process, so that what else the machine does hits both."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ratio: how many times better ours is than theirs, or ours as a share of theirs; ``meaning`` says which. spread: the lowest
    and the highest ratio among the repeats, None for what is measured once.
    """

    name: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    spread: tuple[float, float] | None
    meaning: str


def in_turns(ways: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Measure the seconds of each way, (ways, repeats), called in turns after one call that is not counted."""
    seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(repeats + 1):
        for way, measured in zip(ways, seconds, strict=True):
            started = time.perf_counter()
            way()
            if turn > 0:
                measured.append(time.perf_counter() - started)
    return seconds


def rates(name: str, ours: list[float], theirs: list[float], amount: float, unit: str, meaning: str) -> Row:
    """Compare ours and theirs as ``amount`` per second (medians), and how many times faster ours is, turn by turn."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Row(
        name,
        amount / statistics.median(ours),
        amount / statistics.median(theirs),
        unit,
        statistics.median(ratios),
        (min(ratios), max(ratios)),
        meaning,
    )
