"""Which trials there were and which comes next: an Optuna study in a database.

A trial is enqueued or drawn, then running, then complete (with the best value of the metric), pruned (stopped early, or its
loss diverged: then ``diverged`` says when) or failed. What else is known of it: ``trials.attributes``. Where machines share a
study, the one that creates it enqueues the grid, and each resumes only its own trials.
"""

import contextlib
import itertools
import logging
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from configs import SettingsError
from trials.attributes import counted, enqueued_values, is_marked, search_values
from trials.database import DATABASE_ERRORS, explain_failure, open_database, unwarned
from trials.definition import check_definition, definition_of, wait_for_definition
from trials.ownership import check_owner, claim_folder
from trials.parameters import Choice
from trials.processes import end_processes, find_process, output_file
from trials.sweep_file import Sweep

DATABASE = "study.db"
PATIENCE = 60  # seconds for what another machine is in the middle of
GAP = 10  # seconds without a look, after which it isn't known how long others have been in the middle of something


class Study:
    """The trials of a sweep, kept in a database beside the runs, or in one that several machines share.

    Args:
        sweep: what to try.
        folder: holds the runs of this machine and, without ``storage``, the database.
        storage: the SQLAlchemy URL of a shared database.
        seed: of the search, for random and bayes.
        overrides: further settings for each training. Those on which its figures depend stay the same for all trials.

    Raises:
        SettingsError: the folder or the database is that of another sweep, or the database can't be reached.
    """

    def __init__(
        self, sweep: Sweep, folder: Path, storage: str | None = None, seed: int = 0, overrides: Sequence[str] = ()
    ) -> None:
        logging.getLogger("optuna").setLevel(logging.ERROR)
        self.sweep = sweep
        self.folder = folder
        self.shared = storage is not None
        self._unmarked: dict[int, float] = {}  # when each trial that no machine has marked as its own was first seen
        self._looked = 0.0
        file = (folder / DATABASE).absolute()
        check_owner(folder, sweep.name, None if self.shared else file)
        where = storage or file
        try:
            database = open_database(where)
            self.optuna, created = self._create_or_load(database.storage)
            self._ask_lock = database.ask_lock
            self._record_heartbeat, self._fail_abandoned = database.record_heartbeat, database.fail_abandoned
        except DATABASE_ERRORS as error:
            raise SettingsError(f"the study's database: {explain_failure(error, where)}") from error
        if self.shared and not created:
            wait_for_definition(self.optuna, PATIENCE)
        before, now = self.optuna.user_attrs.get("definition"), definition_of(sweep, overrides)
        if "id" not in self.optuna.user_attrs:
            self.optuna.set_user_attr("id", uuid.uuid4().hex)
        if before is None:  # new, or interrupted while it was set up
            if sweep.method == "grid":
                self._enqueue_grid()
            self.optuna.set_user_attr("definition", now)
        else:
            check_definition(before, now, sweep, folder)
        claim_folder(folder, sweep.name, self.identity, self.optuna.get_trials(deepcopy=False))
        drawn = len(self.trials)  # a sampler that began at the same seed again would draw the same again
        if sweep.method == "bayes":
            self.optuna.sampler = optuna.samplers.TPESampler(seed=seed + drawn, constant_liar=True)
        else:
            self.optuna.sampler = optuna.samplers.RandomSampler(seed=seed + drawn)

    def _create_or_load(self, database: optuna.storages.BaseStorage) -> tuple[optuna.Study, bool]:
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

    def _enqueue_grid(self) -> None:
        """Enqueue all combinations of the varied values that aren't there yet."""
        choices = {
            key: entry for key, entry in self.sweep.parameters.items() if isinstance(entry, Choice) and len(entry.values) > 1
        }
        present = [search_values(trial) for trial in self.trials]
        for indices in itertools.product(*(range(len(choice.values)) for choice in choices.values())):
            combination = dict(zip(choices, indices, strict=True))
            if combination not in present:
                self._enqueue(combination, {})

    def _enqueue(self, search_values: dict[str, Any], attributes: dict[str, str | int]) -> None:
        self.optuna.enqueue_trial(search_values, {"enqueued": search_values} | attributes)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Return all trials so far, without those that were repeated later or are surplus."""
        return counted(self.optuna.get_trials(deepcopy=False))

    @property
    def identity(self) -> str:
        """Return what no other study has, whatever its name."""
        return str(self.optuna.user_attrs["id"])

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
        while self._has_next():
            with self._ask_lock, unwarned():
                trial = self.optuna.ask()
            if self._is_surplus(trial.number):
                self._drop(trial)
                continue
            values = {key: parameter.suggest(trial, key) for key, parameter in self.sweep.parameters.items()}
            trial.set_user_attr("values", values)
            return trial
        return None

    def _has_next(self) -> bool:
        states = [trial.state for trial in self.trials]
        begun = sum(state != TrialState.WAITING for state in states)
        capped = self.sweep.run_cap is not None and begun >= self.sweep.run_cap
        return not (self._target_reached() or capped or (self.sweep.method == "grid" and TrialState.WAITING not in states))

    def _is_surplus(self, number: int) -> bool:
        """Return whether a trial just asked for is a copy, or one too many as another machine took the last at that moment."""
        trials = self.trials
        if number not in (trial.number for trial in trials):
            return True
        if self.sweep.method == "grid" and enqueued_values(self.optuna.get_trials(deepcopy=False)[number]) is None:
            return True
        earlier = [trial for trial in trials if trial.number < number and trial.state != TrialState.WAITING]
        return self.sweep.run_cap is not None and len(earlier) >= self.sweep.run_cap

    def _drop(self, trial: Trial) -> None:
        """End a running trial that doesn't count."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            trial.set_user_attr("surplus", True)
        self.tell(trial, state=TrialState.FAIL)

    def tell(self, trial: Trial | int, value: float | None = None, state: TrialState | None = None) -> None:
        """End a running trial. One that has ended stays as it is, such as by this call, whose answer was lost on the way."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.optuna.tell(trial, value, state=state, skip_if_finished=True)

    def reopen(self, trial: FrozenTrial) -> Trial:
        """Return a running trial that an earlier process asked for, so that this one can report to it and end it."""
        # Optuna has no public way to it: a study hands out trials that it asks for itself, and a frozen trial keeps the id that
        # the constructor needs in an attribute with an underscore.
        return Trial(self.optuna, trial._trial_id)

    def resume_interrupted(self, retry_failed: bool) -> list[FrozenTrial]:
        """Enqueue again what was interrupted here and, if asked, what failed; end trainings that others have taken over.

        Returns:
            The trials whose trainings still run, or have finished with nobody watching.
        """
        if self.shared:
            end_processes([find_process(trial) for trial in self._ended_elsewhere()])
        unwatched = []
        for trial in self.trials:
            folder = trial.user_attrs.get("folder")
            if trial.state == TrialState.RUNNING and self._is_own(trial):
                finished = folder is not None and (Path(folder) / "summary.json").exists()
                if finished or find_process(trial) is not None:
                    unwatched.append(trial)
                    continue
                self._repeat(trial, folder)
            elif trial.state == TrialState.FAIL and retry_failed:
                self._repeat(trial)
        return unwatched

    def await_unmarked(self) -> bool:
        """Return whether another machine has asked for a trial and not yet marked it as its own.

        What stays so is enqueued again, as that machine has died. Its clock need not be right; what counts is how long this
        one has seen it so.
        """
        if not self.shared:
            return False
        unmarked = {trial.number: trial for trial in self.trials if trial.state == TrialState.RUNNING and not is_marked(trial)}
        now = time.monotonic()
        if now - self._looked > GAP:
            self._unmarked.clear()
        self._looked, self._unmarked = now, {number: self._unmarked.get(number, now) for number in unmarked}
        for number, trial in unmarked.items():
            if now - self._unmarked[number] > PATIENCE:
                self._repeat(trial)
        return bool(unmarked)

    def record_heartbeat(self, trial: Trial) -> None:
        """Give a sign of life for a running trial, so that no other machine takes it over."""
        if self.shared:
            self._record_heartbeat(trial._trial_id)

    def take_over_abandoned(self) -> None:
        """Enqueue again the trials whose machines have given no sign of life for long, with the folders of their runs.

        They are ended first, as Optuna does that. So what is looked for is any trial that has ended without a reason: one of a
        machine that was killed in between is found too.
        """
        if not self.shared:
            return
        self._fail_abandoned(self.optuna)
        for trial in self.trials:
            if trial.state == TrialState.FAIL and is_marked(trial) and "failed" not in trial.user_attrs:
                self._repeat(trial, trial.user_attrs["folder"])

    def running_elsewhere(self) -> list[FrozenTrial]:
        """Return the trials that other machines run, or have left."""
        return [trial for trial in self.trials if trial.state == TrialState.RUNNING and not self._is_own(trial)]

    def _ended_elsewhere(self) -> list[FrozenTrial]:
        """Return the trials of this machine that failed: one whose training still runs was taken over by another."""
        failed = [trial for trial in self.optuna.get_trials(deepcopy=False) if trial.state == TrialState.FAIL]
        return [trial for trial in failed if "pid" in trial.user_attrs and self.is_here(trial)]

    def _is_own(self, trial: FrozenTrial) -> bool:
        """Return whether a running trial was started here."""
        return self.is_here(trial) if is_marked(trial) else not self.shared

    def is_here(self, trial: FrozenTrial) -> bool:
        """Return whether a marked trial's folder lies here: a cluster may start the sweep in its folder on another host."""
        folder = Path(trial.user_attrs["folder"])
        if folder.absolute().parent != self.folder.absolute():
            return False
        return trial.user_attrs["host"] == socket.gethostname() or output_file(folder).exists()

    def _repeat(self, trial: FrozenTrial, folder: str | None = None) -> None:
        """Enqueue a trial again, and only then end it if it hasn't ended: killed in between, nothing is lost.

        Args:
            trial: failed, or without anybody who runs it.
            folder: of its run, to be resumed there.
        """
        if self.sweep.method == "grid" and enqueued_values(trial) is None:  # its machine hadn't said yet that it is surplus
            return self._drop(self.reopen(trial))
        self._enqueue(search_values(trial), {"again": trial.number} | ({"folder": folder} if folder else {}))
        self.tell(trial.number, state=TrialState.FAIL)

    def _target_reached(self) -> bool:
        target, best = self.sweep.metric.target, self.best_trial()
        if target is None or best is None or best.value is None:
            return False
        return best.value >= target if self.sweep.metric.maximize else best.value <= target
