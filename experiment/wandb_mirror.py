"""W&B as a mirror of a run: it can neither stop nor slow a training, nor outlive it.

The training puts calls into a bounded queue and goes on; a thread of the mirror makes them. The first that fails, and one that
takes longer than ``CALL_SECONDS``, switches the mirror off for the rest of the run, which one line says. Start and end have
deadlines of their own, since W&B waits without a limit for its service, a process named wandb-core. When one has passed, that
process is killed: whatever waits for it then fails at once, in threads and in W&B's exit handler, and the program can leave.
"""

import atexit
import contextlib
import queue
import shlex
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger

from configs import SettingsError
from experiment.dashboard import Dashboard, Histogram
from experiment.wandb_service import CLOSE_SECONDS, end_service, end_service_in_time, has_upload_errors, kill_service

if TYPE_CHECKING:
    import wandb

START_SECONDS = 28.0
ONLINE_SECONDS = 120.0
"""Of a start with ``logger.mode=online``, which the run can't do without. W&B gives up after 25 s, on a busy machine later."""

CALL_SECONDS = 60.0
FINISH_SECONDS = 60.0
"""Of the end of a run. The last ``CLOSE_SECONDS`` of them are for W&B's files, where an upload is cut off."""

UPLOAD_SECONDS = 40.0
"""What W&B itself may take of ``FINISH_SECONDS`` to upload what is left; then it closes the file that can be uploaded later."""

QUEUE_LENGTH = 1000
"""Calls, one an epoch. They hold numbers and names of files, not pictures."""


@dataclass(frozen=True)
class Mirrored:
    """A run as W&B has begun it: its identity, folder, log, page (None offline), and the last epoch that it knows."""

    id: str
    folder: Path
    log: Path
    url: str | None
    last_epoch: int


class WandbMirror(Logger):
    """A logger that hands everything to W&B by way of a queue and a thread of its own.

    Args:
        start: starts W&B; called by that thread.
        folder: of the run's own record.
        dashboard: how W&B shows the run.
        required: whether the run is to have W&B or not to start.

    Raises:
        SettingsError: ``start`` did, or a required start took too long.
    """

    def __init__(self, start: Callable[[], "wandb.Run"], folder: Path, dashboard: Dashboard, required: bool = False) -> None:
        super().__init__()
        self.folder = folder
        self.dashboard = dashboard
        self.mirrored: Mirrored | None = None
        self.failure: str | None = None
        self._start = start
        self._mistake: SettingsError | None = None
        self._pictures: dict[str, tuple[Path, str]] = {}
        self._ranges: dict[str, float] = {}
        self._histograms: dict[str, Histogram] = {}
        self._calls: queue.Queue[Callable[[wandb.Run], object] | None] = queue.Queue(QUEUE_LENGTH)
        self._started = threading.Event()
        self._ended = threading.Event()  # Thread.join, once interrupted, takes the thread for ended (Python 3.11)
        self._awaited = True
        self._call_began: float | None = None
        self._exit_code = 1
        self._uploaded = True
        self._finished = False
        threading.Thread(target=self._work, name="W&B mirror", daemon=True).start()
        try:
            if not self._started.wait(ONLINE_SECONDS if required else START_SECONDS):
                if required:
                    self.failure = f"W&B has not started after {ONLINE_SECONDS:.0f} s"
                    self._mistake = SettingsError(f"logger.mode=online: {self.failure}; take logger.mode=auto")
                else:
                    print(f"W&B has not started after {START_SECONDS:.0f} s; the training doesn't wait for it", flush=True)
            self._awaited = False
        except KeyboardInterrupt:
            kill_service()
            raise
        if self._mistake:
            kill_service()
            self._ended.wait(CLOSE_SECONDS)  # so that nothing writes into the folder any more
            raise self._mistake
        atexit.register(self.finish)  # runs before W&B's own handler, which was registered earlier and waits without a limit

    @property
    def name(self) -> str:
        """Of the kind of logger."""
        return "wandb"

    @property
    def version(self) -> str | None:
        """W&B's identity of the run."""
        return self.mirrored.id if self.mirrored else None

    @property
    def last_epoch(self) -> int:
        """The last epoch that W&B knows of before this start: 0 for a new run, and for an offline one, which has no memory."""
        return self.mirrored.last_epoch if self.mirrored else 0

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *arguments: Any, **options: Any) -> None:
        """Do nothing: W&B got all settings at the start."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send an epoch's row, and with it the pictures and histograms since the row before. W&B counts the steps by itself."""
        sent = dict(metrics), self._pictures, self._ranges, self._histograms
        self._pictures, self._ranges, self._histograms = {}, {}, {}
        self._put(lambda run: self.dashboard.log(run, *sent))

    def log_pictures(self, files: Mapping[str, tuple[Path, str]], values: Mapping[str, float]) -> None:
        """Take pictures, each a file with its caption, and values beside them, as part of the next row."""
        self._pictures.update(files)
        self._ranges.update(values)

    def log_histograms(self, histograms: Mapping[str, Histogram]) -> None:
        """Take histograms by name, as part of the next row."""
        self._histograms.update(histograms)

    def log_results(self, send: Callable[["wandb.Run"], object]) -> None:
        """Send what came out of the run: ``send`` does, in the mirror's thread."""
        self._put(send)

    def finish(self, summary: Mapping[str, Any] | None = None, exit_code: int = 1) -> None:
        """Send the last figures, let W&B upload what is left, and say where the run is. Once only, in ``FINISH_SECONDS``.

        Ctrl-C ends it at once. A run that ended without a word from its program has failed: its exit code is 1.
        """
        if self._finished:
            return
        self._finished, self._exit_code = True, exit_code
        figures, until = dict(summary or {}), time.monotonic() + FINISH_SECONDS - CLOSE_SECONDS
        self._put(lambda run: _add_to_summary(run, figures))
        cut_off = f"its end took more than {FINISH_SECONDS:.0f} s"
        try:
            self._calls.put(None, timeout=FINISH_SECONDS - CLOSE_SECONDS)
            if not self._ended.wait(3):
                print(f"W&B has {FINISH_SECONDS:.0f} s for the rest; Ctrl-C leaves at once", flush=True)
                self._ended.wait(max(0, until - time.monotonic()))
        except queue.Full:
            self._drop_calls()
        except KeyboardInterrupt:
            cut_off = "interrupted"
        if not self._ended.is_set():
            self._cut_off(cut_off)
        print(self._last_words(), flush=True)

    def _drop_calls(self) -> None:
        """Let the thread end after the call that it makes now: a full queue has no room for the word that it is to end."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
        self._calls.put(None)

    def _cut_off(self, reason: str) -> None:
        """Have W&B's service drop what it uploads and close its files; kill it if it doesn't."""
        self._uploaded, earlier = False, self.failure
        if not end_service_in_time() or not self._ended.wait(1):
            self.failure = earlier or reason  # not what a call has raised that waited for the service
            kill_service()
            self._ended.wait(CLOSE_SECONDS)

    def _put(self, call: Callable[["wandb.Run"], object]) -> None:
        if self.failure:
            return
        began = self._call_began
        if began and time.monotonic() - began > CALL_SECONDS:
            self._switch_off(f"it has not answered for {CALL_SECONDS:.0f} s")
            kill_service()
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._switch_off(f"{QUEUE_LENGTH} calls wait for it")

    def _work(self) -> None:
        """Start W&B, make the calls as they come, and end it."""
        try:
            run = self._start()
            self.mirrored = _describe(run)
        except SettingsError as mistake:
            self._mistake = mistake
            if not self._awaited:
                self._switch_off(str(mistake))
        except Exception as problem:  # W&B promises no type: its own errors, sockets', its protocol's
            self._switch_off(_reason(problem))
        else:
            atexit.register(self.finish)  # again, as a slow start registers W&B's handler later
            with contextlib.suppress(OSError):  # a closed terminal can't be told
                print(self._first_words(self.mirrored), flush=True)
            self._started.set()
            self._serve(run)
        end_service()
        self._started.set()  # if W&B could not be started
        self._ended.set()

    def _serve(self, run: "wandb.Run") -> None:
        while (call := self._calls.get()) is not None:
            if self.failure:
                continue
            self._call_began = time.monotonic()
            try:
                call(run)
            except Exception as problem:  # as above
                self._switch_off(_reason(problem))
            self._call_began = None
        try:
            run.finish(exit_code=self._exit_code)
        except Exception:  # as above; a TimeoutError after UPLOAD_SECONDS
            self._uploaded = False

    def _switch_off(self, reason: str) -> None:
        if not (self.failure or self._finished):
            print(f"W&B is off for the rest of this run ({reason}). The run's own record goes on in {self.folder}", flush=True)
        self.failure = self.failure or reason

    def _first_words(self, mirrored: Mirrored) -> str:
        if mirrored.url is None:
            return f"W&B keeps the run offline. Look at it at any time: wandb leet {shlex.quote(str(mirrored.folder))}"
        return f"W&B shows the run: {mirrored.url}"

    def _last_words(self) -> str:
        if self.failure or not self.mirrored:
            return f"W&B has only a part of this run ({self.failure}); all of it is in {self.folder}"
        place = shlex.quote(str(self.mirrored.folder))
        if self.mirrored.url is None:
            if not self._uploaded:
                return f"W&B did not close its copy of the run in {place}, which may lack rows; all of it is in {self.folder}"
            return f"W&B kept the run offline. Look at it: wandb leet {place}\n{'Upload it: wandb sync':>47} {place}"
        if not self._uploaded or has_upload_errors(self.mirrored.log):
            return f"W&B has not got all of this run. Upload the rest: wandb sync --no-skip-online {place}"
        return f"W&B has the run: {self.mirrored.url}"


def _describe(run: "wandb.Run") -> Mirrored:
    last = run.summary.get("epoch", 0) if run.resumed else 0  # type: ignore[no-untyped-call]  # W&B gives it no types
    page = None if run.offline else run.url
    return Mirrored(run.id, Path(run.settings.sync_dir), Path(run.settings.log_internal), page, int(last))


def _add_to_summary(run: "wandb.Run", figures: Mapping[str, Any]) -> None:
    # What was logged by epoch W&B has summed up itself, val/accuracy by its maximum.
    logged = set(run.summary.keys())  # type: ignore[no-untyped-call]  # W&B gives it no types
    run.summary.update({name: value for name, value in figures.items() if name not in logged})


def _reason(problem: Exception) -> str:
    lines = str(problem).splitlines()
    return f"{type(problem).__name__}: {lines[0]}" if lines else type(problem).__name__
