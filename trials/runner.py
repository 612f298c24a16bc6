"""Run the trials of a study: start trainings, read what they record, stop the hopeless, survive an end of its own."""

import contextlib
import itertools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from experiment.run_folder import read_metrics, read_summary
from trials.command import display_name, trial_command, write_arguments
from trials.study import Study, find_process
from trials.weights import names_what_to_keep, remove_other_weights


@dataclass
class Running:
    """A trial whose training runs, its process and the run's folder."""

    trial: optuna.Trial
    process: psutil.Process | None  # None where it has ended unwatched
    folder: Path
    rows: list[dict[str, float]] = field(default_factory=list)  # of its epochs so far, all of them reported
    stopped: bool = False
    child: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)  # polled, so that it leaves no zombie

    @property
    def output(self) -> Path:
        """Return the file of what the training prints."""
        return self.folder.with_suffix(".txt")


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
            self.running.append(Running(self.study.reopen(trial), find_process(trial), folder))
        while True:
            while len(self.running) < self.jobs and self._start():
                pass
            if not self.running:
                remove_other_weights(self.study)  # once more, as an earlier start may have been killed before it could
                return
            on_look(self.running)
            time.sleep(self.poll_seconds)
            for running in list(self.running):
                if self._poll(running):
                    self.running.remove(running)
                    remove_other_weights(self.study)
                    on_trial_end(self._frozen(running.trial.number))

    def interrupt(self) -> None:
        """End the trainings as Ctrl-C would, and wait for them; the next start resumes them."""
        for running in self.running:
            _send_signal(running.process, signal.SIGINT)
        psutil.wait_procs([running.process for running in self.running if running.process], timeout=60)

    def _start(self) -> bool:
        """Start the next trial's training. Returns whether there was one."""
        trial = self.study.next_trial()
        if trial is None:
            return False
        folder = self.run_folder(trial)
        trial.set_user_attr("folder", str(folder))
        trial.set_user_attr("host", socket.gethostname())
        trial.set_user_attr("best_only", self.best_only)
        command = self.command(trial, folder)
        if not _can_be_resumed(folder):
            shutil.rmtree(folder, ignore_errors=True)  # of a training that was interrupted in its first epoch
        environment = dict(os.environ)
        if self.jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.jobs)))
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_arguments(self.study.sweep, trial.user_attrs["values"], folder.with_suffix(".json"))
        with folder.with_suffix(".txt").open("ab") as output:
            output.write(f"$ {shlex.join(command)}\n".encode())
            output.flush()
            with _interruptible():
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
                )
        process = psutil.Process(child.pid)
        trial.set_user_attr("pid", child.pid)
        trial.set_user_attr("create_time", process.create_time())
        self.running.append(Running(trial, process, folder, child=child))
        return True

    def run_folder(self, trial: optuna.Trial) -> Path:
        """Return the folder of a trial's run: its own, if it has one to resume in, or one that isn't there yet."""
        if "folder" in trial.user_attrs:
            return Path(trial.user_attrs["folder"])
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
        name = display_name(values, sweep.varied)
        settings += [f"logger.run_name={name}"] if name and "logger.run_name" not in values else []
        return settings

    def _poll(self, running: Running) -> bool:
        """Report new epochs to the study, stop the training where the study says so. Returns whether it has ended."""
        if running.child:
            ended = running.child.poll() is not None
        else:
            ended = running.process is None or not running.process.is_running()
        metric, rows = self.study.sweep.metric.name, read_metrics(running.folder)
        for row in rows[len(running.rows) :]:
            if metric in row:
                running.trial.report(row[metric], int(row["epoch"]))
                if not ended and not running.stopped and running.trial.should_prune():
                    running.stopped = True
                    _send_signal(running.process, signal.SIGINT)
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
            self.study.optuna.tell(trial, state=TrialState.PRUNED)
        elif summary is None:
            damaged = f"{file} is damaged" if file.exists() else _last_line(running.output)
            trial.set_user_attr("failed", damaged)
            self.study.optuna.tell(trial, state=TrialState.FAIL)
        elif summary.get("diverged"):
            trial.set_user_attr("diverged", str(summary.get("divergence")))
            self.study.optuna.tell(trial, state=TrialState.PRUNED)
        elif (value := metric.best_value(rows, summary)) is None:
            known = ", ".join(sorted(rows[-1])) if rows else "nothing"
            trial.set_user_attr("failed", f"no metric {metric.name}; its metrics.csv has {known}")
            self.study.optuna.tell(trial, state=TrialState.FAIL)
        else:
            self.study.optuna.tell(trial, value)

    def _frozen(self, number: int) -> FrozenTrial:
        return next(trial for trial in self.study.optuna.get_trials(deepcopy=False) if trial.number == number)


def _can_be_resumed(folder: Path) -> bool:
    return (folder / "checkpoints/last.ckpt").exists()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let a process that is started here receive SIGINT, though this one may not: a shell's background jobs ignore it."""
    handler = signal.getsignal(signal.SIGINT)
    if handler == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _last_line(file: Path) -> str:
    """Return the last line of a training's output, and where the rest is."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1][:200]} (see {file})" if lines else f"see {file}"


def _send_signal(process: psutil.Process | None, number: int) -> None:
    if process is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
