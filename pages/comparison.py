"""Runs against each other, on two levels that are easily taken for one another.

**These weights**: two trained networks on the same images, image by image (McNemar, bootstrap). It says nothing of what the
same networks would do if they were trained once more.

**The architecture**: trainings that differ only in their seeds are one configuration. Two configurations are compared over the
seeds at which both were trained and tested on the same images; each such pair gives one difference. One gives no interval.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pages.run_data import RunData
from pages.statistics import PairedComparison, SeedComparison, compare_over_seeds, compare_paired

OF_THE_MACHINE = ("data.root", "data.archives", "data.cache_dir", "runs", "resume")  # nobody else's business
SEEDS = ("seed", "data.seed")
TEACHES = ("model.", "data.", "optim.", "trainer.max_epochs", "trainer.precision")  # settings that change what is learnt
FASTER = ("data.cache", "data.workers")  # only change how long it takes
Names = tuple[str, ...]


@dataclass(frozen=True)
class Against:
    """A run compared with an earlier one, image by image, or why that is impossible.

    Attributes:
        first: the earlier one's label.
        second: the run's.
        result: of the second against the first.
        problem: why there is none.
        only_seeds: both are one configuration.
    """

    first: str
    second: str
    result: PairedComparison | None
    problem: str
    only_seeds: bool


@dataclass(frozen=True)
class Configuration:
    """Trainings that were asked for the same but for their seeds.

    Attributes:
        label: the network's name; the first run's folder beside it where several configurations have that network.
        runs: those that came to an end, one of each seed.
        settings: that matter to what was learnt, dotted, without the seeds.
        left_out: how many diverged or left no predictions.
    """

    label: str
    runs: list[RunData]
    settings: dict[str, Any]
    left_out: int

    @property
    def accuracies(self) -> list[float]:
        """Top-1 accuracy of each run, 0 to 1."""
        return [_accuracy(run) for run in self.runs]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.mean(self.accuracies)

    @property
    def deviation(self) -> float:
        """The standard deviation of the accuracies, which takes two runs."""
        return statistics.stdev(self.accuracies)


@dataclass(frozen=True)
class Architectures:
    """A second configuration against a first one.

    Attributes:
        first: its label.
        second: its label.
        pairs: how many seeds both were trained with and tested on the same images.
        result: over these, where there are two or more.
        new_splits: each pair has test images of its own.
        models: the networks differ.
        besides: the settings that differ, those of the network left out.
    """

    first: str
    second: str
    pairs: int
    result: SeedComparison | None
    new_splits: bool
    models: bool
    besides: list[str]


def label_runs(runs: Sequence[RunData]) -> list[str]:
    """Return a name for each run: of one its folder's, of several their networks', with the folder's beside if two have one."""
    if len(runs) == 1:
        return [runs[0].name]
    networks = [run.network for run in runs]
    return [
        network if networks.count(network) == 1 else f"{network} ({folder})"
        for network, folder in zip(networks, _folder_names(runs), strict=True)
    ]


def _folder_names(runs: Sequence[RunData]) -> list[str]:
    """Return the names of the runs' folders, numbered where several have one."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name}, {number}" for number, name in enumerate(names, start=1)]


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def compare_weights(runs: Sequence[RunData], labels: Sequence[str]) -> list[Against]:
    """Compare each run with the first one that was tested on the same images, or say why it can't be with the very first."""
    found = []
    for number in range(1, len(runs)):
        other = next((earlier for earlier in range(number) if not why_incomparable(runs[earlier], runs[number])), 0)
        problem = why_incomparable(runs[other], runs[number])
        result = None if problem else _compare(runs[other], runs[number])
        alike = _teaching(runs[other]) == _teaching(runs[number])
        found.append(Against(labels[other], labels[number], result, problem, alike))
    return found


def why_incomparable(first: RunData, second: RunData) -> str:
    """Return why two runs can't be compared image by image; empty where they can."""
    if not first.predictions or not second.predictions:
        return f"{second.name if first.predictions else first.name} left no predictions of single images"
    return "" if _files(first) == _files(second) else "they were tested on other images"


def _compare(first: RunData, second: RunData) -> PairedComparison:
    right = [np.array([each.right for each in run.predictions]) for run in (first, second)]
    return compare_paired(right[0], right[1], np.array([each.group for each in first.predictions]))


def find_configurations(runs: Sequence[RunData]) -> list[Configuration]:
    """Put runs that differ only in their seeds together, in the order of the first of each."""
    members: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        members.setdefault(repr(sorted(_teaching(run).items())), []).append(number)
    names = [runs[numbers[0]].network for numbers in members.values()]
    folders = _folder_names(runs)
    found = []
    for name, numbers in zip(names, members.values(), strict=True):
        label = name if names.count(name) == 1 else f"{name} as in {folders[numbers[0]]}"
        ended = [runs[number] for number in numbers if runs[number].predictions and not runs[number].diverged]
        once = {_training(run): run for run in reversed(ended)}  # the same training twice counts once
        found.append(Configuration(label, list(once.values())[::-1], _teaching(runs[numbers[0]]), len(numbers) - len(ended)))
    return found


def compare_architectures(configurations: Sequence[Configuration]) -> list[Architectures]:
    """Compare each further configuration with the first one, over their seeds."""
    return [_compare_configurations(configurations[0], each) for each in configurations[1:]]


def _compare_configurations(first: Configuration, second: Configuration) -> Architectures:
    of_second = {_training(run): run for run in second.runs}
    pairs = [(run, of_second[_training(run)]) for run in first.runs if _training(run) in of_second]
    new_splits = len({_files(run) for run, _ in pairs}) > 1
    result = None
    if len(pairs) > 1:
        share = _test_share(run for run, _ in pairs) if new_splits else 0.0
        result = compare_over_seeds([_accuracy(other) - _accuracy(run) for run, other in pairs], share)
    names = {*first.settings, *second.settings}
    differing = sorted(name for name in names if first.settings.get(name) != second.settings.get(name))
    besides = [name for name in differing if not name.startswith("model.")]
    models = len(besides) < len(differing)
    return Architectures(first.label, second.label, len(pairs), result, new_splits, models, besides)


def _test_share(runs: Iterable[RunData]) -> float:
    """Return how many test images there are for a training image, the most of any run; a quarter where it isn't known."""
    return max(len(run.predictions) / run.train_images if run.train_images else 0.25 for run in runs)


def _teaching(run: RunData) -> dict[str, Any]:
    flat = flatten(run.settings)
    others = (*OF_THE_MACHINE, *SEEDS, *FASTER)
    return {name: value for name, value in flat.items() if name.startswith(TEACHES) and name not in others}


def _training(run: RunData) -> tuple[Any, Names]:
    """Return what tells the trainings of a configuration apart: seed and test images."""
    return run.settings.get("seed"), _files(run)


def _files(run: RunData) -> Names:
    return tuple(each.file for each in run.predictions)


def _accuracy(run: RunData) -> float:
    return sum(each.right for each in run.predictions) / len(run.predictions)
