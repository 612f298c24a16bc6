"""What a sweep would start, without starting or writing anything."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trials.ownership import check_owner
from trials.report import trial_label
from trials.runner import Runner
from trials.study import DATABASE, Study
from trials.sweep_file import Sweep


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that is still to be run.

    Attributes:
        label: its number and the values of the varied parameters.
        command: what starts it; empty where it runs already.
    """

    label: str
    command: list[str]


def planned_trials(
    sweep: Sweep, folder: Path, seed: int = 0, retry_failed: bool = False, overrides: Sequence[str] = ()
) -> Iterator[PlannedTrial]:
    """Yield the trials that are left, in their order, as a copy of the study hands them out.

    A bayes search tries what it would with no results but those that are there.

    Args:
        sweep: what to try.
        folder: of the sweep; it need not be there.
        seed: of the search.
        retry_failed: whether failed trials are run once more.
        overrides: further settings for each training.

    Raises:
        SettingsError: the folder or the study is that of another sweep.
    """
    check_owner(folder, sweep.name, folder / DATABASE)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        if (folder / DATABASE).is_file():
            _copy_database(folder / DATABASE, copy / DATABASE)
        study = Study(sweep, copy, seed=seed, overrides=overrides)
        study.folder = folder  # whose trials are its own
        for trial in study.resume_interrupted(retry_failed):
            yield PlannedTrial(trial_label(trial.number, trial.user_attrs.get("values", {}), sweep.varied), [])
        runner = Runner(study, folder, overrides=tuple(overrides))
        while (asked := study.next_trial()) is not None:
            label = trial_label(asked.number, asked.user_attrs["values"], sweep.varied)
            yield PlannedTrial(label, runner.command(asked, runner.run_folder(asked)))


def _copy_database(file: Path, copy: Path) -> None:
    """Copy a database that others may be writing to."""
    with (
        contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
