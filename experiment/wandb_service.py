"""W&B's service, the process named wandb-core: how it is ended, or killed where it does not end, and what its log says.

The service uploads and writes what a program gives to W&B, whose functions wait for it without a limit.
"""

import contextlib
import functools
import queue
import re
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

ANSWER_SECONDS = 120.0
"""For all that ``ask`` does. W&B gives up a server that refuses after 25 s, on a busy machine later."""

CLOSE_SECONDS = 5.0
"""That the service has to close its files before it is killed."""

UPLOAD_ERROR = re.compile(r"api: HTTP error|filestream|runfiles|runupserter|upload")
"""In wandb-core's log: what it has given up without a word to ``run.finish``, as after an answer of 401."""


def has_upload_errors(log: Path) -> bool:
    """Tell from the log of a run's service whether it has given up an upload; True if the log can't be read."""
    try:
        lines = log.read_text().splitlines()
    except OSError:
        return True
    return any('"level":"ERROR"' in line and UPLOAD_ERROR.search(line) for line in lines)


Answer = TypeVar("Answer")


def ask(question: Callable[[], Answer]) -> Answer:
    """Return what a question to W&B returns, and leave none of its processes behind, which could keep the program from ending.

    Raises:
        TimeoutError: W&B took longer than ``ANSWER_SECONDS``.
        Exception: what the question raises.
    """
    answers = queue.SimpleQueue[Answer | Exception]()

    def work() -> None:
        try:
            answers.put(question())
        except Exception as problem:
            answers.put(problem)

    threading.Thread(target=work, name="W&B", daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer after {ANSWER_SECONDS:.0f} s") from None
    finally:
        if not end_service_in_time():
            kill_service()
    if isinstance(answer, Exception):
        raise answer
    return answer


def end_service_in_time() -> bool:
    """Do as ``end_service`` does, for ``CLOSE_SECONDS`` at most. Returns whether the service has ended."""
    closer = threading.Thread(target=end_service, daemon=True)
    with contextlib.suppress(RuntimeError):  # the interpreter is ending and starts no thread any more
        closer.start()
        closer.join(CLOSE_SECONDS)
    return not closer.is_alive()


def end_service() -> None:
    """End W&B's service, if it can be ended in order; if not, W&B forgets it all the same, and waits for it no more."""
    if "wandb" in sys.modules:
        import wandb

        with contextlib.suppress(Exception):
            wandb.teardown()


def kill_service() -> None:
    """Kill this process's wandb-core and what it has started, and wait until they are gone: ``CLOSE_SECONDS`` at most.

    Without its service every call of W&B fails at once.
    """
    threading.excepthook = functools.partial(_report_unless_wandbs, threading.excepthook)
    killed: list[psutil.Process] = []
    for service in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile, which is as good
            if service.name() == "wandb-core":
                for process in [*service.children(recursive=True), service]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                        killed.append(process)
    psutil.wait_procs(killed, timeout=CLOSE_SECONDS)


def _report_unless_wandbs(report: Callable[[threading.ExceptHookArgs], object], arguments: threading.ExceptHookArgs, /) -> None:
    """Report what ended a thread, but not of W&B's own, which ask their service how it is and don't expect it to be gone."""
    frames = traceback.walk_tb(arguments.exc_traceback)
    if not any(frame.f_globals.get("__name__", "").startswith("wandb.") for frame, _ in frames):
        report(arguments)
