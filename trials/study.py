"""Which trials there were and which comes next: an Optuna study in a database.

A trial is enqueued or drawn, then running, then complete (with the best value of the metric), pruned (stopped early, or its
loss diverged: then ``diverged`` says when) or failed. Its user attributes hold what Optuna doesn't: the ``values`` passed on,
the ``folder`` of its run, and the ``host``, ``pid`` and ``create_time`` of its process, by which a later start finds out whether it
still runs. A trial that was interrupted is enqueued anew with the same folder, from where its training goes on; ``again``
names the one that it repeats. Where machines share a study, the one that creates it enqueues the grid, each takes up only its
own trials, and one that was asked for when another machine had just taken the last is ``surplus``.
"""

import itertools
import logging
import socket
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from configs import SettingsError
from trials.parameters import Choice
from trials.sweep_file import Sweep

PATIENCE = 60  # seconds for what another machine is in the middle of
CONNECT_ATTEMPTS = 10  # tries to open the database before its error counts


class Study:
    """The trials of a sweep, kept in a database beside the runs, or in one that several machines share.

    Args:
        sweep: what to try.
        folder: holds the runs of this machine and, without ``storage``, the database.
        storage: the SQLAlchemy URL of a shared database.
        seed: of the search, for random and bayes.

    Raises:
        SettingsError: the database is that of another sweep, or can't be reached.
    """

    def __init__(self, sweep: Sweep, folder: Path, storage: str | None = None, seed: int = 0) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self.sweep = sweep
        self.folder = folder
        self.shared = storage is not None
        created = False
        try:
            url = storage or f"sqlite:///{(folder / 'study.db').absolute()}"
            database = _database(url)
            direction = StudyDirection.MAXIMIZE if sweep.metric.maximize else StudyDirection.MINIMIZE
            try:
                self.optuna = optuna.create_study(
                    storage=database, study_name=sweep.name, direction=direction, pruner=self._pruner()
                )
                created = True
            except optuna.exceptions.DuplicatedStudyError:
                self.optuna = optuna.load_study(storage=database, study_name=sweep.name, pruner=self._pruner())
        except Exception as problem:  # SQLAlchemy's many, and Optuna's own
            raise SettingsError(f"the study's database: {str(problem).splitlines()[0]}") from problem
        self._ask_lock = _ask_lock(url)
        if self.shared and not created:
            self._wait_for_definition()
        before = self.optuna.user_attrs.get("definition")
        if before is None:  # new, or cut off while it was set up
            if sweep.method == "grid":
                self._enqueue_grid()
            self.optuna.set_user_attr("definition", _searched(sweep))
        elif before != _searched(sweep):
            raise SettingsError(
                f"{sweep.file} has changed since the trials of {sweep.name!r} in {folder} began: undo that, or change its name"
            )
        drawn = len(self.trials)  # a sampler that began at the same seed again would draw the same again
        if sweep.method == "bayes":
            self.optuna.sampler = optuna.samplers.TPESampler(seed=seed + drawn, constant_liar=True)
        else:
            self.optuna.sampler = optuna.samplers.RandomSampler(seed=seed + drawn)

    def _pruner(self) -> optuna.pruners.BasePruner:
        if self.sweep.hyperband is None:
            return optuna.pruners.NopPruner()
        first, factor = self.sweep.hyperband
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)

    def _wait_for_definition(self) -> None:
        """Wait until the machine that created the study has enqueued its trials, unless it has died on the way."""
        until = time.monotonic() + PATIENCE
        while "definition" not in self.optuna.user_attrs and time.monotonic() < until:
            time.sleep(0.2)

    def _enqueue_grid(self) -> None:
        varied = {key: own for key, own in self.sweep.parameters.items() if isinstance(own, Choice) and len(own.values) > 1}
        there = [_parameters(trial) for trial in self.trials]
        for numbers in itertools.product(*(range(len(own.values)) for own in varied.values())):
            combination = dict(zip(varied, numbers, strict=True))
            if combination not in there:
                self.optuna.enqueue_trial(combination)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials so far, without those that were repeated later or are surplus."""
        found = self.optuna.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get("again") for trial in found}
        return [trial for trial in found if trial.number not in repeated and "surplus" not in trial.user_attrs]

    @property
    def planned(self) -> int:
        """How many trials there will be."""
        cap = self.sweep.run_cap
        return len(self.trials) if self.sweep.method == "grid" and cap is None else cap or len(self.trials)

    def finished(self) -> list[FrozenTrial]:
        """The trials that have come to an end of any kind."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    def time_left(self, jobs: int) -> timedelta | None:
        """How long the rest will take, ``jobs`` at a time, at the mean pace of the finished trials; None before the first."""
        spans = [
            trial.datetime_complete - trial.datetime_start
            for trial in self.finished() if trial.datetime_complete and trial.datetime_start
        ]  # fmt: skip
        if not spans:
            return None
        seconds = sum(span.total_seconds() for span in spans) / len(spans) * (self.planned - len(spans)) / jobs
        return timedelta(seconds=round(max(0.0, seconds)))

    def best(self) -> FrozenTrial | None:
        """The complete trial with the best value."""
        done = [trial for trial in self.trials if trial.state == TrialState.COMPLETE and trial.value is not None]
        sign = 1 if self.sweep.metric.maximize else -1
        return max(done, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def next_trial(self) -> Trial | None:
        """The trial to start now, with its ``values``; None when there is none left."""
        states = [trial.state for trial in self.trials]
        begun = sum(state != TrialState.WAITING for state in states)
        waiting = TrialState.WAITING in states
        cap = self.sweep.run_cap
        if self._target_reached() or (cap is not None and begun >= cap) or (self.sweep.method == "grid" and not waiting):
            return None
        with self._ask_lock:
            trial = self.optuna.ask()
        if self._surplus(trial.number):
            trial.set_user_attr("surplus", True)
            self.optuna.tell(trial, state=TrialState.FAIL)
            return None
        values = {key: own.suggest(trial, key) for key, own in self.sweep.parameters.items()}
        trial.set_user_attr("values", values)
        return trial

    def _surplus(self, number: int) -> bool:
        """Whether a trial just asked for is one too many, as another machine took the last one at the same moment."""
        if self.sweep.method == "grid" and "fixed_params" not in self.optuna.get_trials(deepcopy=False)[number].system_attrs:
            return True
        earlier = [trial for trial in self.trials if trial.number < number and trial.state != TrialState.WAITING]
        return self.sweep.run_cap is not None and len(earlier) >= self.sweep.run_cap

    def resume_interrupted(self, retry_failed: bool) -> list[FrozenTrial]:
        """Enqueue again what was interrupted here and, if asked, what failed.

        Returns the trials whose trainings still run, or have finished with nobody watching.
        """
        unwatched = []
        for trial in self.trials:
            attributes = trial.user_attrs
            if trial.state == TrialState.RUNNING and self._own(trial):
                finished = (Path(attributes.get("folder", "nowhere")) / "summary.json").exists()
                if finished or process_of(trial) is not None:
                    unwatched.append(trial)
                    continue
                self.optuna.tell(trial.number, state=TrialState.FAIL)
                self._again(trial, attributes.get("folder"))
            elif trial.state == TrialState.FAIL and retry_failed:
                self._again(trial, None)
        return unwatched

    def _own(self, trial: FrozenTrial) -> bool:
        """Whether a running trial was started from this folder of this machine, or by one that died before it said so."""
        marks = trial.user_attrs
        if "host" not in marks:
            asked = trial.datetime_start or datetime.min
            return not self.shared or datetime.now() - asked > timedelta(seconds=PATIENCE)
        here = Path(marks["folder"]).absolute().parent == self.folder.absolute()
        return here and marks["host"] == socket.gethostname()

    def _again(self, trial: FrozenTrial, folder: str | None) -> None:
        attributes: dict[str, Any] = {"again": trial.number}
        if folder is not None:
            attributes["folder"] = folder
        self.optuna.enqueue_trial(_parameters(trial), attributes)

    def _target_reached(self) -> bool:
        target, best = self.sweep.metric.target, self.best()
        if target is None or best is None or best.value is None:
            return False
        return best.value >= target if self.sweep.metric.maximize else best.value <= target


def _database(url: str) -> optuna.storages.RDBStorage:
    """The database at this URL, new where there is none.

    Of machines that create it at the same moment all but one trip over tables that are suddenly there; they try again.
    """
    for _ in range(CONNECT_ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(url)
        except DBAPIError:
            time.sleep(0.5)
    return optuna.storages.RDBStorage(url)


def _ask_lock(url: str) -> AbstractContextManager[object]:
    """Keeps two from getting the same waiting trial: database servers lock its row, SQLite knows no such lock."""
    parts = make_url(url)
    return FileLock(f"{parts.database}.lock") if parts.drivername.startswith("sqlite") else nullcontext()


def process_of(trial: FrozenTrial) -> psutil.Process | None:
    """The process of a running trial on this machine, None where it has ended."""
    try:
        process = psutil.Process(trial.user_attrs["pid"])
        same = abs(process.create_time() - trial.user_attrs["create_time"]) < 1  # process numbers are used again
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (KeyError, psutil.NoSuchProcess):
        return None


def _parameters(trial: FrozenTrial) -> dict[str, Any]:
    """What the search has chosen for a trial, which for one that waits is still to be handed out."""
    fixed: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return dict(trial.params or fixed)


def _searched(sweep: Sweep) -> dict[str, Any]:
    """What must stay the same for a study to go on."""
    return {key: sweep.definition.get(key) for key in ("program", "method", "metric", "parameters", "command")}
