"""The process of a training: started so that it outlives the sweep, found again by a later one, and ended as by Ctrl-C."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from optuna.trial import FrozenTrial

FOLDER_VARIABLE = "SWEEP_TRIAL_FOLDER"
"""In the environment of a training: the run's folder. So it is found though its sweep was killed when it had just begun."""


def output_file(folder: Path) -> Path:
    """Return the file of what the training in a folder prints."""
    return folder.with_suffix(".txt")


def start_process(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a training that has this folder, in a session of its own. ``variables`` are put into its environment."""
    environment = {**os.environ, **variables, FOLDER_VARIABLE: str(folder.absolute())}
    with output_file(folder).open("ab") as output, _interruptible():
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )


def find_process(trial: FrozenTrial) -> psutil.Process | None:
    """Return the process of a running trial, None where it has ended or is on another machine."""
    attributes = trial.user_attrs
    if attributes.get("host") != socket.gethostname():
        return None
    if "pid" not in attributes:
        return _find_by_folder(Path(attributes["folder"]))
    try:
        process = psutil.Process(attributes["pid"])
        started = attributes["create_time"] if "create_time" in attributes else attributes["born"]  # as it was called before
        same = abs(process.create_time() - started) < 1  # process numbers are used again
        return process if same and has_not_ended(process) else None
    except psutil.NoSuchProcess:
        return None


def has_not_ended(process: psutil.Process) -> bool:
    """Return whether a process runs. In a container without an init an orphan that has ended stays there as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _find_by_folder(folder: Path) -> psutil.Process | None:
    """Return the process that began first of those that train in a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # of other users
            if process.environ().get(FOLDER_VARIABLE) == str(folder.absolute()):
                found.append((process.create_time(), process))
    return min(found, key=lambda each: each[0])[1] if found else None


def interrupt_process(process: psutil.Process | None) -> None:
    """Send a training what Ctrl-C would."""
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)


def end_processes(processes: Sequence[psutil.Process | None]) -> None:
    """Send trainings what Ctrl-C would, and wait until they have ended, for a minute at most."""
    for process in processes:
        interrupt_process(process)
    psutil.wait_procs([process for process in processes if process is not None], timeout=60)


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
