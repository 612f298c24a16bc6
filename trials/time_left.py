"""How long the rest of a sweep will take, from the epochs of its trainings."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Epochs:
    """How far a training is.

    Attributes:
        done: epochs behind it.
        planned: all that it will have; None where that isn't known.
        seconds: that those behind it took.
    """

    done: int
    planned: int | None
    seconds: float


def seconds_left(finished: Sequence[float], running: Sequence[Epochs], waiting: int, jobs: int) -> float | None:
    """Return how long the rest of a sweep takes; None before there is anything to go by.

    A running training takes its own mean for each of its epochs that are left. One that waits takes the mean of the finished
    ones, those that were stopped early among them, or where there is none, as long as the running ones will have taken.

    Args:
        finished: seconds of each finished trial.
        running: how far those are that run now.
        waiting: trials that haven't begun.
        jobs: trials at a time.
    """
    known = [each.planned * each.seconds / each.done for each in running if each.planned and each.done]
    if not finished and not known:
        return None
    whole = statistics.fmean(finished or known)
    left = []
    for each in running:
        if each.planned and each.done:
            left.append(max(0, each.planned - each.done) * each.seconds / each.done)
        else:
            left.append(max(0.0, whole - each.seconds))
    return max([(sum(left) + waiting * whole) / jobs, *left])
