"""Run the trials of a study: start trainings, read what they record, stop the hopeless, survive an end of its own."""

import contextlib
import itertools
import math
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from configs.run_name import name_by_what_varies
from experiment.run_folder import read_metrics, read_summary
from trials import database
from trials.command import trial_command, write_arguments
from trials.ownership import fetch_run
from trials.processes import end_processes, find_process, has_not_ended, interrupt_process, output_file, start_process
from trials.study import Study
from trials.weights import names_what_to_keep, remove_other_weights


@dataclass
class Running:
    """A trial whose training runs, its process and the run's folder."""

    trial: optuna.Trial
    process: psutil.Process | None  # None where it has ended unwatched
    folder: Path
    rows: list[dict[str, float]] = field(default_factory=list)  # of its epochs so far
    reported: set[int] = field(default_factory=set)  # epochs that the study knows
    stopped: bool = False
    child: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)  # polled, so that it leaves no zombie

    @property
    def output(self) -> Path:
        """Return the file of what the training prints."""
        return output_file(self.folder)


class Runner:
    """Runs ``jobs`` trials at a time until the study has no more.

    Args:
        study: the trials.
        folder: takes the runs' folders, ``trial-003``, and their output, ``trial-003.txt``.
        jobs: trials at a time.
        overrides: further settings for each training, after the sweep's.
        poll_seconds: between two looks at the trainings.
    """

    def __init__(
        self, study: Study, folder: Path, jobs: int = 1, overrides: tuple[str, ...] = (), poll_seconds: float = 0.5
    ) -> None:
        self.study = study
        self.folder = folder
        self.jobs = jobs
        self.overrides = overrides
        self.poll_seconds = poll_seconds
        self.running: list[Running] = []
        self._heartbeat = -math.inf  # when the last signs of life were given
        self.best_only = not names_what_to_keep((*study.sweep.parameters, *study.sweep.command, *overrides))

    def run(
        self,
        adopted: list[FrozenTrial],
        on_trial_end: Callable[[FrozenTrial], None],
        on_look: Callable[[Sequence[Running]], None] = lambda running: None,
    ) -> None:
        """Watch trials that run already and start others, until there are none left.

        Args:
            adopted: the trials that ``Study.resume_interrupted`` returned.
            on_trial_end: called with each trial that has ended.
            on_look: called with the running trials, a few times a second.
        """
        for trial in adopted:
            folder = Path(trial.user_attrs["folder"])
            known = set(trial.intermediate_values)
            self.running.append(Running(self.study.reopen(trial), find_process(trial), folder, reported=known))
        while True:
            self._look_after_heartbeats()
            others_begin = self.study.await_unmarked()
            while len(self.running) < self.jobs and self._start():
                pass
            if not self.running and not others_begin:
                remove_other_weights(self.study)  # once more, as an earlier start may have been killed before it could
                return
            on_look(self.running)
            time.sleep(self.poll_seconds)
            for running in list(self.running):
                if self._look_at(running):
                    self.running.remove(running)
                    remove_other_weights(self.study)
                    on_trial_end(self._frozen(running.trial.number))

    def interrupt(self) -> None:
        """End the trainings as Ctrl-C would, and wait for them; the next start resumes them."""
        end_processes([running.process for running in self.running])

    def _start(self) -> bool:
        """Start the next trial's training. Returns whether there was one."""
        trial = self.study.next_trial()
        if trial is None:
            return False
        folder = self.run_folder(trial)
        folder.parent.mkdir(parents=True, exist_ok=True)
        output_file(folder).touch()  # by which the trial is known here, whatever this host is called next time
        self.study.record_heartbeat(trial)
        if (known := Path(trial.user_attrs.get("folder", folder))) != folder:
            fetch_run(known, folder, self.study.identity)
        try:
            trial.set_user_attr("folder", str(folder))
            trial.set_user_attr("host", socket.gethostname())
            trial.set_user_attr("best_only", self.best_only)
        except optuna.exceptions.UpdateFinishedTrialError:  # this machine slept so long that another took it over
            return True
        command = self.command(trial, folder)
        if not _can_be_resumed(folder):
            shutil.rmtree(folder, ignore_errors=True)  # of a training that was interrupted in its first epoch
        write_arguments(self.study.sweep, trial.user_attrs["values"], folder.with_suffix(".json"))
        with output_file(folder).open("ab") as output:
            output.write(f"$ {shlex.join(command)}\n".encode())
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        child = start_process(command, folder, {"OMP_NUM_THREADS": threads, **os.environ} if self.jobs > 1 else {})
        process = psutil.Process(child.pid)
        self.running.append(Running(trial, process, folder, child=child))  # before the database, which may be gone, hears of it
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # as above; the next look gives it up
            trial.set_user_attr("create_time", process.create_time())
            trial.set_user_attr("pid", child.pid)
        return True

    def _look_after_heartbeats(self) -> None:
        """Give a sign of life for each running trial once in a while, and take over those that get none."""
        now = time.monotonic()
        if now - self._heartbeat < database.HEARTBEAT_SECONDS:
            return
        self._heartbeat = now
        for running in self.running:
            self.study.record_heartbeat(running.trial)
        self.study.take_over_abandoned()

    def run_folder(self, trial: optuna.Trial) -> Path:
        """Return the folder of a trial's run: its own, if it has one to resume in, or one that isn't there yet.

        That of a run on another machine isn't its own, see ``fetch_run``.
        """
        known = Path(trial.user_attrs.get("folder", ""))
        if known.absolute().parent == self.folder.absolute():
            return known
        name = f"trial-{trial.number:03d}"
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        return next(folder for folder in (self.folder / name for name in names) if not folder.exists())

    def command(self, trial: optuna.Trial, folder: Path) -> list[str]:
        """Return the command that starts a trial in its folder, or resumes it there."""
        values = trial.user_attrs["values"]
        command = trial_command(self.study.sweep, values, folder.with_suffix(".json"))
        own = [f"resume={folder}"] if _can_be_resumed(folder) else self._run_settings(folder, values)
        return [*command, *own, *self.overrides]

    def _run_settings(self, folder: Path, values: Mapping[str, Any]) -> list[str]:
        """Return the settings of a new run in this folder."""
        sweep = self.study.sweep
        settings = [f"runs={folder.parent}", f"name={folder.name}", f"logger.group={sweep.name}"]
        settings += [f"logger.project={sweep.project}"] if sweep.project else []
        settings += [f"logger.entity={sweep.entity}"] if sweep.entity else []
        name = name_by_what_varies(values, sweep.varied)
        settings += [f"logger.run_name={name}"] if name and "logger.run_name" not in values else []
        return settings

    def _look_at(self, running: Running) -> bool:
        """Do as ``_poll``. A trial that another machine has taken over has ended here."""
        try:
            return self._poll(running)
        except optuna.exceptions.UpdateFinishedTrialError:
            end_processes([running.process])  # before it may be resumed in the same folder
            return True

    def _poll(self, running: Running) -> bool:
        """Report new epochs to the study, stop the training where the study says so. Returns whether it has ended."""
        if running.child:
            ended = running.child.poll() is not None
        else:
            ended = running.process is None or not has_not_ended(running.process)
        metric, rows = self.study.sweep.metric.name, read_metrics(running.folder)
        for row in rows:
            if metric in row and (epoch := int(row["epoch"])) not in running.reported:
                running.trial.report(row[metric], epoch)
                running.reported.add(epoch)
                if not ended and not running.stopped and running.trial.should_prune():
                    running.stopped = True
                    interrupt_process(running.process)
        running.rows = rows
        if ended:
            self._conclude(running, rows)
        return ended

    def _conclude(self, running: Running, rows: list[dict[str, float]]) -> None:
        """Tell the study how a trial ended: its run's own record says it."""
        file = running.folder / "summary.json"
        summary = read_summary(file)
        trial, metric = running.trial, self.study.sweep.metric
        if running.stopped:
            trial.set_user_attr("stopped", f"early, after epoch {len(rows)}")
            self.study.tell(trial, state=TrialState.PRUNED)
        elif summary is None:
            damaged = f"{file} is damaged" if file.exists() else _last_line(running.output)
            trial.set_user_attr("failed", damaged)
            self.study.tell(trial, state=TrialState.FAIL)
        elif summary.get("diverged"):
            trial.set_user_attr("diverged", str(summary.get("divergence")))
            self.study.tell(trial, state=TrialState.PRUNED)
        elif (value := metric.best_value(rows, summary)) is None:
            known = ", ".join(sorted(rows[-1])) if rows else "nothing"
            trial.set_user_attr("failed", f"no metric {metric.name}; its metrics.csv has {known}")
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, value)

    def _frozen(self, number: int) -> FrozenTrial:
        return next(trial for trial in self.study.optuna.get_trials(deepcopy=False) if trial.number == number)


def _can_be_resumed(folder: Path) -> bool:
    return (folder / "checkpoints/last.ckpt").exists()


def _last_line(file: Path) -> str:
    """Return the last line of a training's output, and where the rest is."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1][:200]} (see {file})" if lines else f"see {file}"
