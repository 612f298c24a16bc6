"""A long run of tiny epochs for ``soak.py``: started, watched, resumed; and the faults that can be caused in it."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from experiment.distributed import SIGNALS
from experiment.run_folder import read_metrics
from tests.faults.kill_chain import IN_AN_EPOCH, KINDS, ROOT, TINY, TO_WANDB

PICTURES_EVERY = 10  # epochs
PATIENCE = 300  # seconds for the end of a process; W&B may take 60 of them
LOADER = "pt_data_worker"  # torch's name for a loading process; another child has its parent's command line until it starts W&B
FULL = 20_000  # bytes a file may have on the full disk: too few for a checkpoint
GROWING = ("pictures", "wandb")  # folders that are larger after each epoch or start, as they should be


@dataclass(frozen=True)
class Sample:
    """What a process and its run took after an epoch: bytes of memory, threads, open files, bytes on disk."""

    epoch: int
    memory: int
    threads: int
    files: int
    disk: int


class SoakedRun:
    """A run in ``folder`` with W&B offline. ``ends`` counts the exit statuses of its processes."""

    def __init__(self, folder: Path, epochs: int) -> None:
        folder.parent.mkdir()
        self.folder = folder
        self.epochs = epochs
        self.epoch = 0  # the last one in the record
        self.ends: Counter[int] = Counter()
        self.samples: list[Sample] = []
        self.process: subprocess.Popen[bytes]
        self._starts = 0
        self._services: list[psutil.Process] = []

    def __enter__(self) -> "SoakedRun":
        return self

    def __exit__(self, *exception: Any) -> None:
        """End all that still runs."""
        self._services += self.children()
        self.process.kill()
        self._kill_services()

    @property
    def log(self) -> Path:
        """What the last process has printed."""
        return self.folder.parent / f"{self._starts:03d}.log"

    def start(self, point: str = "none", passage: int = 0, workers: int = 0) -> None:
        """Start the run, or resume it, to be killed at the n-th passage of a point; with so many loading processes."""
        words = [f"resume={self.folder}"]
        if not (self.folder / "checkpoints/last.ckpt").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            place = [f"runs={self.folder.parent}", f"name={self.folder.name}"]
            length = [f"trainer.max_epochs={self.epochs}", f"viz.every_n_epochs={PICTURES_EVERY}"]
            words = [*TINY, *KINDS["W&B offline"], *length, *place]
        self._starts += 1
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.killed_run", point, str(passage), *words, f"data.workers={workers}"],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "WANDB_SILENT": "true"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """Return the exit status, None while the process runs. Takes a sample where an epoch has ended since the last one."""
        rows = read_metrics(self.folder)
        if rows and rows[-1]["epoch"] > self.epoch:  # a damaged record may end earlier
            self.epoch = int(rows[-1]["epoch"])
            with contextlib.suppress(psutil.Error, OSError):  # the process, or a file that was listed, may be gone
                process = psutil.Process(self.process.pid)
                self.samples.append(
                    Sample(self.epoch, process.memory_info().rss, process.num_threads(), process.num_fds(), self._disk())
                )
        return self.process.poll()

    def _disk(self) -> int:
        files = (file for file in self.folder.rglob("*") if not set(GROWING) & set(file.relative_to(self.folder).parts))
        return sum(file.stat().st_size for file in files if file.is_file())

    def end(self, *expected: int) -> None:
        """Wait for the process. Raises AssertionError for another status, unless the fault hit the run on its way out."""
        self._services += self.children()
        status = self.process.wait(PATIENCE)
        self.ends[status] += 1
        self._kill_services()
        concluded = (self.folder / "summary.json").exists()
        assert concluded or status in (0, *expected), f"ended with {status}, not {expected}; see {self.log}"

    def children(self) -> list[psutil.Process]:
        """The processes that it has started, and those that they have."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def _kill_services(self) -> None:
        """End what a killed process has left: a stopped service of W&B would stay for ever."""
        for service in self._services:
            with contextlib.suppress(psutil.Error):
                service.kill()
        self._services = []


def kill_anywhere(run: SoakedRun, rng: random.Random) -> None:
    run.process.kill()
    run.end(-signal.SIGKILL)
    run.start()


def kill_at_a_point(run: SoakedRun, rng: random.Random) -> None:
    run.process.kill()
    run.end(-signal.SIGKILL)
    run.start(rng.choice(IN_AN_EPOCH + TO_WANDB), rng.randint(1, 3))
    run.end(-signal.SIGKILL)
    run.start()


def send_signal(run: SoakedRun, rng: random.Random) -> None:
    obeyed = [number for number in (signal.SIGINT, *SIGNALS) if signal.getsignal(number) != signal.SIG_IGN]  # as after nohup
    run.process.send_signal(rng.choice(obeyed))
    run.end(130)
    run.start()


def fill_the_disk(run: SoakedRun, rng: random.Random) -> None:
    with contextlib.suppress(psutil.Error):
        psutil.Process(run.process.pid).rlimit(psutil.RLIMIT_FSIZE, (FULL, FULL))
    run.end(1)
    run.start()


def kill_a_loading_process(run: SoakedRun, rng: random.Random) -> None:
    run.process.kill()
    run.end(-signal.SIGKILL)
    run.start(workers=1)
    while run.process.poll() is None:
        loaders = []
        for child in run.children():
            with contextlib.suppress(psutil.Error):
                loaders += [child] if child.name() == LOADER else []
        if loaders:
            loaders[0].kill()
            break
        time.sleep(0.05)
    run.end(1)
    run.start()


def send_to_the_service(number: signal.Signals) -> Callable[[SoakedRun, random.Random], None]:
    def send(run: SoakedRun, rng: random.Random) -> None:
        for child in run.children():
            with contextlib.suppress(psutil.Error):
                if child.name() == "wandb-core":
                    child.send_signal(number)

    return send


def damage_files(run: SoakedRun, rng: random.Random) -> None:
    """Cut off what the checkpoint can bring back, each file anywhere."""
    run.process.kill()
    run.end(-signal.SIGKILL)
    for file in [run.folder / name for name in ("config.yaml", "metrics.csv", "index.html")]:
        if file.exists():
            os.truncate(file, rng.randrange(file.stat().st_size))
    run.start()


def type_nonsense(run: SoakedRun, rng: random.Random) -> None:
    """Resume the run while it trains, with settings that can't change."""
    words = [f"resume={run.folder}", rng.choice(["optim.lr=9", "model=zfnet", "nonsense=1", "data.batch_size='['"])]
    done = subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 1, ""), done.stdout + done.stderr


FAULTS: dict[str, Callable[[SoakedRun, random.Random], None]] = {
    "killed anywhere": kill_anywhere,
    "killed at a named point": kill_at_a_point,
    "signal": send_signal,
    "disk full": fill_the_disk,
    "loading process killed": kill_a_loading_process,
    "W&B's service killed": send_to_the_service(signal.SIGKILL),
    "W&B's service stopped": send_to_the_service(signal.SIGSTOP),
    "files damaged": damage_files,
    "wrong words": type_nonsense,
}
