"""Which trials there were and which comes next: an Optuna study in a database.

A trial is enqueued or drawn, then running, then complete (with the best value of the metric), pruned (stopped early, or its
loss diverged: then ``diverged`` says when) or failed. Its user attributes hold what Optuna doesn't:

- ``enqueued``: what an enqueued trial will get from the search, see ``_search_values``;
- ``values``: what is passed on to the training;
- ``best_only``: its weights stay only if it is the best trial;
- ``folder``, ``host``, ``pid`` and ``create_time``: the run's folder and its process, by which a later start finds out whether
  it still runs;
- ``again``: the number of the trial that this one repeats. A trial that was interrupted is enqueued anew with the same folder,
  in which its training resumes;
- ``surplus``: it was asked for when another machine had just taken the last one.

Where machines share a study, the one that creates it enqueues the grid, and each resumes only its own trials.
"""

import itertools
import logging
import socket
import time
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from configs import SettingsError
from trials.database import DATABASE_ERRORS, ask_lock, open_database
from trials.ownership import check_owner, claim_folder
from trials.parameters import Choice
from trials.sweep_file import Sweep

DATABASE = "study.db"
PATIENCE = 60  # seconds for what another machine is in the middle of


class Study:
    """The trials of a sweep, kept in a database beside the runs, or in one that several machines share.

    Args:
        sweep: what to try.
        folder: holds the runs of this machine and, without ``storage``, the database.
        storage: the SQLAlchemy URL of a shared database.
        seed: of the search, for random and bayes.

    Raises:
        SettingsError: the folder or the database is that of another sweep, or the database can't be reached.
    """

    def __init__(self, sweep: Sweep, folder: Path, storage: str | None = None, seed: int = 0) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self.sweep = sweep
        self.folder = folder
        self.shared = storage is not None
        file = (folder / DATABASE).absolute()
        check_owner(folder, sweep.name, None if self.shared else file)
        url = storage or f"sqlite:///{file}"
        try:
            self.optuna, created = self._create_or_load(open_database(url))
            self._ask_lock = ask_lock(url)
        except DATABASE_ERRORS as error:
            raise SettingsError(f"the study's database: {str(error).splitlines()[0]}") from error
        if self.shared and not created:
            self._wait_for_definition()
        before = self.optuna.user_attrs.get("definition")
        if before is None:  # new, or interrupted while it was set up
            if sweep.method == "grid":
                self._enqueue_grid()
            self.optuna.set_user_attr("id", uuid.uuid4().hex)
            self.optuna.set_user_attr("definition", _search_definition(sweep))
        elif before != _search_definition(sweep):
            raise SettingsError(
                f"{sweep.file} has changed since the trials of {sweep.name!r} in {folder} began: undo that, or change its name"
            )
        if "id" not in self.optuna.user_attrs:
            self.optuna.set_user_attr("id", uuid.uuid4().hex)
        claim_folder(folder, sweep.name, str(self.optuna.user_attrs["id"]), self.optuna.get_trials(deepcopy=False))
        drawn = len(self.trials)  # a sampler that began at the same seed again would draw the same again
        if sweep.method == "bayes":
            self.optuna.sampler = optuna.samplers.TPESampler(seed=seed + drawn, constant_liar=True)
        else:
            self.optuna.sampler = optuna.samplers.RandomSampler(seed=seed + drawn)

    def _create_or_load(self, database: optuna.storages.RDBStorage) -> tuple[optuna.Study, bool]:
        """Return the study of the sweep's name in a database, and whether it is new."""
        name, pruner = self.sweep.name, self._pruner()
        direction = StudyDirection.MAXIMIZE if self.sweep.metric.maximize else StudyDirection.MINIMIZE
        try:
            return optuna.create_study(storage=database, study_name=name, direction=direction, pruner=pruner), True
        except optuna.exceptions.DuplicatedStudyError:
            return optuna.load_study(storage=database, study_name=name, pruner=pruner), False

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
        """Enqueue all combinations of the varied values that aren't there yet."""
        choices = {
            key: entry for key, entry in self.sweep.parameters.items() if isinstance(entry, Choice) and len(entry.values) > 1
        }
        present = [_search_values(trial) for trial in self.trials]
        for indices in itertools.product(*(range(len(choice.values)) for choice in choices.values())):
            combination = dict(zip(choices, indices, strict=True))
            if combination not in present:
                self._enqueue(combination, {})

    def _enqueue(self, search_values: dict[str, Any], attributes: dict[str, str | int]) -> None:
        self.optuna.enqueue_trial(search_values, {"enqueued": search_values} | attributes)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Return all trials so far, without those that were repeated later or are surplus."""
        trials = self.optuna.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get("again") for trial in trials}
        return [trial for trial in trials if trial.number not in repeated and "surplus" not in trial.user_attrs]

    @property
    def planned(self) -> int:
        """Return how many trials there will be."""
        cap = self.sweep.run_cap
        return len(self.trials) if self.sweep.method == "grid" and cap is None else cap or len(self.trials)

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that have come to an end of any kind."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    def best_trial(self) -> FrozenTrial | None:
        """Return the complete trial with the best value."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE and trial.value is not None]
        sign = 1 if self.sweep.metric.maximize else -1
        return max(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def next_trial(self) -> Trial | None:
        """Return the trial to start now, with its ``values``; None when there is none left."""
        states = [trial.state for trial in self.trials]
        begun = sum(state != TrialState.WAITING for state in states)
        waiting = TrialState.WAITING in states
        cap = self.sweep.run_cap
        if self._target_reached() or (cap is not None and begun >= cap) or (self.sweep.method == "grid" and not waiting):
            return None
        with self._ask_lock:
            trial = self.optuna.ask()
        if self._is_surplus(trial.number):
            trial.set_user_attr("surplus", True)
            self.optuna.tell(trial, state=TrialState.FAIL)
            return None
        values = {key: parameter.suggest(trial, key) for key, parameter in self.sweep.parameters.items()}
        trial.set_user_attr("values", values)
        return trial

    def _is_surplus(self, number: int) -> bool:
        """Return whether a trial just asked for is one too many, as another machine took the last at the same moment."""
        if self.sweep.method == "grid" and _enqueued_values(self.optuna.get_trials(deepcopy=False)[number]) is None:
            return True
        earlier = [trial for trial in self.trials if trial.number < number and trial.state != TrialState.WAITING]
        return self.sweep.run_cap is not None and len(earlier) >= self.sweep.run_cap

    def reopen(self, trial: FrozenTrial) -> Trial:
        """Return a running trial that an earlier process asked for, so that this one can report to it and end it."""
        # Optuna has no public way to it: a study hands out trials that it asks for itself, and a frozen trial keeps the id that
        # the constructor needs in an attribute with an underscore.
        return Trial(self.optuna, trial._trial_id)

    def resume_interrupted(self, retry_failed: bool) -> list[FrozenTrial]:
        """Enqueue again what was interrupted here and, if asked, what failed.

        Returns:
            The trials whose trainings still run, or have finished with nobody watching.
        """
        unwatched = []
        for trial in self.trials:
            folder = trial.user_attrs.get("folder")
            if trial.state == TrialState.RUNNING and self._is_own(trial):
                finished = folder is not None and (Path(folder) / "summary.json").exists()
                if finished or find_process(trial) is not None:
                    unwatched.append(trial)
                    continue
                self.optuna.tell(trial.number, state=TrialState.FAIL)
                self._enqueue_again(trial, folder)
            elif trial.state == TrialState.FAIL and retry_failed:
                self._enqueue_again(trial, None)
        return unwatched

    def _is_own(self, trial: FrozenTrial) -> bool:
        """Return whether a running trial was started here, or by a machine that died before it said where."""
        attributes = trial.user_attrs
        if "host" not in attributes:
            asked = trial.datetime_start or datetime.min
            return not self.shared or datetime.now() - asked > timedelta(seconds=PATIENCE)
        return self.is_here(trial)

    def is_here(self, trial: FrozenTrial) -> bool:
        """Return whether the folder of a trial that was started lies on this machine, below the sweep's."""
        attributes = trial.user_attrs
        here = Path(attributes["folder"]).absolute().parent == self.folder.absolute()
        return here and attributes["host"] == socket.gethostname()

    def _enqueue_again(self, trial: FrozenTrial, folder: str | None) -> None:
        attributes: dict[str, str | int] = {"again": trial.number}
        if folder is not None:
            attributes["folder"] = folder
        self._enqueue(_search_values(trial), attributes)

    def _target_reached(self) -> bool:
        target, best = self.sweep.metric.target, self.best_trial()
        if target is None or best is None or best.value is None:
            return False
        return best.value >= target if self.sweep.metric.maximize else best.value <= target


def find_process(trial: FrozenTrial) -> psutil.Process | None:
    """Return the process of a running trial on this machine, None where it has ended."""
    attributes = trial.user_attrs
    try:
        process = psutil.Process(attributes["pid"])
        started = attributes["create_time"] if "create_time" in attributes else attributes["born"]  # as it was called before
        same = abs(process.create_time() - started) < 1  # process numbers are used again
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (KeyError, psutil.NoSuchProcess):
        return None


def _search_values(trial: FrozenTrial) -> dict[str, Any]:
    """Return what the search chose for a trial: indices of values and shares of distributions, by parameter."""
    return dict(trial.params or _enqueued_values(trial) or {})


def _enqueued_values(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return what an enqueued trial will get from the search, None for a trial that the search draws."""
    values: dict[str, Any] | None = trial.user_attrs.get("enqueued")
    if values is None:
        # A study from before ``enqueued`` has it only where Optuna keeps it for itself, which is documented nowhere.
        values = trial.system_attrs.get("fixed_params")
    return values


def _search_definition(sweep: Sweep) -> dict[str, Any]:
    """Return what must stay the same for a study to be resumed."""
    return {key: sweep.definition.get(key) for key in ("program", "method", "metric", "parameters", "command")}
