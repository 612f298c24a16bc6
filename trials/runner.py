"""Runs the trials of a study: starts trainings, watches their records, stops the hopeless, survives its own end."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from experiment.run_folder import read_rows
from trials.command import trial_command
from trials.study import Study, process_of

Report = Callable[[FrozenTrial], None]


@dataclass
class Running:
    """A trial whose training runs, its process and the run's folder."""

    trial: optuna.Trial
    process: psutil.Process | None  # None where it has ended unwatched
    folder: Path
    epochs: int = 0  # reported so far
    stopped: bool = False
    child: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)  # so that it leaves no zombie


class Runner:
    """Runs ``jobs`` trials at a time until the study has no more.

    Args:
        study: the trials.
        folder: takes the runs' folders, ``trial-003``, and their output, ``trial-003.txt``.
        jobs: trials at a time.
        words: further words for each training, after the sweep's.
        seconds: between two looks at the trainings.
    """

    def __init__(self, study: Study, folder: Path, jobs: int = 1, words: tuple[str, ...] = (), seconds: float = 0.5) -> None:
        self.study = study
        self.folder = folder
        self.jobs = jobs
        self.words = words
        self.seconds = seconds
        self.running: list[Running] = []

    def run(self, adopted: list[FrozenTrial], report: Report) -> None:
        """TopActivationHooks the ``adopted`` trials, those of ``Study.resume_interrupted``, and start others; ``report`` hears of each that ended."""
        for trial in adopted:
            trial_id = trial._trial_id  # the one way to go on with a trial that another process has asked for
            folder = Path(trial.user_attrs["folder"])
            self.running.append(Running(optuna.Trial(self.study.optuna, trial_id), process_of(trial), folder))
        while True:
            while len(self.running) < self.jobs and self._start():
                pass
            if not self.running:
                return
            time.sleep(self.seconds)
            for each in list(self.running):
                if self._watch(each):
                    self.running.remove(each)
                    report(self._frozen(each.trial.number))

    def interrupt(self) -> None:
        """End the trainings as Ctrl-C would, and wait for them; the next start goes on with them."""
        for each in self.running:
            _signal(each.process, signal.SIGINT)
        psutil.wait_procs([each.process for each in self.running if each.process], timeout=60)

    def _start(self) -> bool:
        trial = self.study.next_trial()
        if trial is None:
            return False
        name = f"trial-{trial.number:03d}"
        folder = Path(trial.user_attrs.get("folder", self.folder / name))
        trial.set_user_attr("folder", str(folder))
        trial.set_user_attr("host", socket.gethostname())
        command = trial_command(self.study.sweep, trial.user_attrs["values"], self.folder / name)
        if (folder / "checkpoints/last.ckpt").exists():
            command.append(f"resume={folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)  # of a training that was cut off before its first epoch had ended
            command += [f"runs={folder.parent}", f"name={folder.name}", f"logger.group={self.study.sweep.name}"]
            for key in ("project", "entity"):
                if value := getattr(self.study.sweep, key):
                    command.append(f"logger.{key}={value}")
        command += self.words
        environment = dict(os.environ)
        if self.jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.jobs)))
        folder.parent.mkdir(parents=True, exist_ok=True)
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

    def _watch(self, each: Running) -> bool:
        """Report new epochs to the study, stop the training where the study says so. Returns whether it has ended."""
        ended = each.child.poll() is not None if each.child else not (each.process and each.process.is_running())
        rows = self._rows(each.folder)
        for row in rows[each.epochs :]:
            if self.study.sweep.metric.name in row:
                each.trial.report(row[self.study.sweep.metric.name], int(row["epoch"]))
                if not ended and not each.stopped and each.trial.should_prune():
                    each.stopped = True
                    _signal(each.process, signal.SIGINT)
        each.epochs = len(rows)
        if ended:
            self._conclude(each, rows)
        return ended

    def _conclude(self, each: Running, rows: list[dict[str, float]]) -> None:
        """Tell the study how a trial ended: its run's own record says it."""
        file = each.folder / "summary.json"
        summary: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
        if each.stopped:
            each.trial.set_user_attr("stopped", f"early, after epoch {len(rows)}")
            self.study.optuna.tell(each.trial, state=TrialState.PRUNED)
        elif summary is None:
            each.trial.set_user_attr("failed", _last_line(each.folder.with_suffix(".txt")))
            self.study.optuna.tell(each.trial, state=TrialState.FAIL)
        elif summary.get("diverged"):
            each.trial.set_user_attr("diverged", str(summary["divergence"]))
            self.study.optuna.tell(each.trial, state=TrialState.PRUNED)
        elif (value := self.study.sweep.metric.reached(rows, summary)) is None:
            known = ", ".join(sorted(rows[-1])) if rows else "nothing"
            each.trial.set_user_attr("failed", f"no metric {self.study.sweep.metric.name}; its metrics.csv has {known}")
            self.study.optuna.tell(each.trial, state=TrialState.FAIL)
        else:
            self.study.optuna.tell(each.trial, value)

    def _rows(self, folder: Path) -> list[dict[str, float]]:
        file = folder / "metrics.csv"
        return read_rows(file) if file.exists() else []

    def _frozen(self, number: int) -> FrozenTrial:
        return next(trial for trial in self.study.optuna.get_trials(deepcopy=False) if trial.number == number)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let a process that is started here hear SIGINT, though this one may not: a shell's background jobs ignore it."""
    own = signal.getsignal(signal.SIGINT)
    if own == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, own)


def _last_line(file: Path) -> str:
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1][:200]} (see {file})" if lines else f"see {file}"


def _signal(process: psutil.Process | None, number: int) -> None:
    if process is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
