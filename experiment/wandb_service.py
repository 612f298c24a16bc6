"""W&B's service, the process named wandb-core: how it is ended, or killed where it does not end, and what its log says.

The service uploads and writes what a program gives to W&B, whose functions wait for it without a limit.
"""

import contextlib
import functools
import re
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil

UPLOAD_ERROR = re.compile(r"api: HTTP error|filestream|runfiles|runupserter|upload")
"""In wandb-core's log: what it has given up without a word to ``run.finish``, as after an answer of 401."""


def has_upload_errors(log: Path) -> bool:
    """Tell from the log of a run's service whether it has given up an upload; True if the log can't be read."""
    try:
        lines = log.read_text().splitlines()
    except OSError:
        return True
    return any('"level":"ERROR"' in line and UPLOAD_ERROR.search(line) for line in lines)


def end_service() -> None:
    """End W&B's service, if it can be ended in order; if not, W&B forgets it all the same, and waits for it no more."""
    if "wandb" in sys.modules:
        import wandb

        with contextlib.suppress(Exception):
            wandb.teardown()


def kill_service() -> None:
    """Kill this process's wandb-core and what it has started. Without its service every call of W&B fails at once."""
    threading.excepthook = functools.partial(_report_unless_wandbs, threading.excepthook)
    with contextlib.suppress(psutil.NoSuchProcess):
        for service in psutil.Process().children():
            if service.name() == "wandb-core":
                for process in [*service.children(recursive=True), service]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()


def _report_unless_wandbs(report: Callable[[threading.ExceptHookArgs], object], arguments: threading.ExceptHookArgs, /) -> None:
    """Report what ended a thread, but not of W&B's own, which ask their service how it is and don't expect it to be gone."""
    frames = traceback.walk_tb(arguments.exc_traceback)
    if not any(frame.f_globals.get("__name__", "").startswith("wandb.") for frame, _ in frames):
        report(arguments)
