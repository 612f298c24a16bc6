"""One run of 300 tiny epochs with faults of all kinds, beside one without: ``python -m tests.faults.soak``, about ten minutes.

Kills, signals, a limit on the size of files, W&B's service killed and stopped, damaged files in the run's folder.
At the end both runs have left the same, and while the undisturbed one trained, memory, threads and open files stayed flat.
Prints a table; the exit status says whether all of it holds. ``--epochs`` and ``--seed`` change it.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from experiment.run_folder import read_metrics
from tests.faults.kill_chain import OFFLINE, ROOT, TINY, assert_same_record

KILLS = ("half a checkpoint", "before checkpoint", "after checkpoint", "before metrics", "after picture", "before index",
         "after page", "batch", "validation batch", "row", "W&B row")  # fmt: skip
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FAULTS = ("kill", "signal", "full disk", "service killed", "service stopped", "damaged files")
FEWEST, MOST = 3, 14  # epochs between two faults
POLL = 0.2  # seconds
PICTURES_EVERY = 10  # epochs
STARTING = 10  # epochs in which a process still grows
GROWTH = 1.1  # of what is flat


@dataclass
class Sample:
    """What a process and its run took after an epoch: bytes of memory, threads, open files, bytes on disk."""

    epoch: int
    memory: int
    threads: int
    files: int
    disk: int


@dataclass
class Soak:
    """A run in ``folder``, started and resumed until its end; ``faults`` and ``ends`` count what befell it."""

    folder: Path
    epochs: int
    rng: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[int] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self, point: str = "none", passage: int = 0, largest_file: int = resource.RLIM_INFINITY) -> None:
        """Start the run, or resume it."""
        new = [*TINY, *OFFLINE, f"trainer.max_epochs={self.epochs}", f"viz.every_n_epochs={PICTURES_EVERY}",
               f"runs={self.folder.parent}", f"name={self.folder.name}"]  # fmt: skip
        if (self.folder / "checkpoints/last.ckpt").exists():
            new = [f"resume={self.folder}"]
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

        with self.folder.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.killed_run", point, str(passage), *new],
                cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=prepare,
            )  # fmt: skip

    def epoch(self) -> int:
        """The last epoch in the record."""
        rows = read_metrics(self.folder)
        return int(rows[-1]["epoch"]) if rows else 0

    def train(self, epochs: int) -> bool:
        """Wait for so many epochs more. Returns whether the process still runs."""
        assert self.process is not None
        last = until = self.epoch()
        until += epochs
        while self.process.poll() is None:
            now = self.epoch()
            if now > last:
                last = now
                self.samples.append(self.sample(now))
            if now >= until:
                return True
            time.sleep(POLL)
        self.ends[self.process.returncode] += 1
        return False

    def sample(self, epoch: int) -> Sample:
        assert self.process is not None
        process = psutil.Process(self.process.pid)
        disk = sum(file.stat().st_size for file in self.folder.rglob("*.ckpt"))
        return Sample(epoch, process.memory_info().rss, process.num_threads(), process.num_fds(), disk)

    def end(self) -> None:
        """Wait for the process, and count how it ended."""
        assert self.process is not None
        self.ends[self.process.wait(timeout=300)] += 1

    def disturb(self) -> None:
        """Cause one fault, in the process that runs or in the next one."""
        assert self.process is not None
        fault = self.rng.choice(FAULTS)
        self.faults[fault] += 1
        match fault:
            case "signal":
                self.process.send_signal(self.rng.choice(SIGNALS))
                self.end()
                self.start()
            case "kill":
                os.killpg(self.process.pid, signal.SIGKILL)  # wherever it is
                self.end()
                self.start(self.rng.choice(KILLS), self.rng.randint(1, 5))  # and where it is worst
                self.end()
                self.start()
            case "full disk":
                self.process.kill()
                self.end()
                self.start(largest_file=20_000)  # too little for a checkpoint, and for most pictures
                self.end()
                self.start()
            case "service killed" | "service stopped":
                for child in psutil.Process(self.process.pid).children(recursive=True):
                    if child.name() == "wandb-core":
                        child.kill() if fault == "service killed" else child.suspend()
            case "damaged files":
                self.process.kill()
                self.end()
                for name in ("config.yaml", "metrics.csv", "index.html"):
                    if (self.folder / name).exists() and self.rng.random() < 0.5:
                        os.truncate(self.folder / name, self.rng.randrange((self.folder / name).stat().st_size))
                self.start()

    def run(self, disturbed: bool) -> int:
        """Train to the end. Returns the exit status."""
        self.start()
        while self.train(self.rng.randint(FEWEST, MOST) if disturbed else self.epochs + 1):
            self.disturb()
        assert self.process is not None
        return self.process.returncode


def growth(samples: list[Sample], name: str) -> float:
    """How much larger a figure was in the last third than in the third after the start, by their medians."""
    values = [getattr(sample, name) for sample in samples if sample.epoch > STARTING]
    third = max(1, len(values) // 3)
    return float(statistics.median(values[-third:]) / statistics.median(values[:third]))


def main(arguments: list[str]) -> int:
    """Run both, compare them, print the table. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began, place = time.monotonic(), Path(tempfile.mkdtemp(prefix="soak-"))
    quiet = Soak(place / "undisturbed/run", options.epochs, random.Random(options.seed))
    rough = Soak(place / "disturbed/run", options.epochs, random.Random(options.seed))
    for soak in (quiet, rough):
        soak.folder.parent.mkdir()
    statuses = quiet.run(disturbed=False), rough.run(disturbed=True)
    try:
        assert_same_record(rough.folder, quiet.folder)
        difference = ""
    except AssertionError as problem:
        difference = str(problem).splitlines()[0]
    grown = {name: growth(quiet.samples, name) for name in ("memory", "threads", "files", "disk")}
    leftovers = [file.name for file in place.rglob("*.partial")]
    print(f"| {options.epochs} epochs, seed {options.seed} | |\n|---|---|")
    print(f"| time | {time.monotonic() - began:.0f} s |")
    for fault in FAULTS:
        print(f"| {fault} | {rough.faults[fault]} |")
    print(f"| exit statuses | {', '.join(f'{code}: {count}' for code, count in sorted(rough.ends.items()))} |")
    print(f"| statuses at the end, undisturbed and disturbed | {statuses[0]}, {statuses[1]} |")
    print(f"| same record as the undisturbed run | {difference or 'yes, to the last bit'} |")
    print(f"| partial files left | {', '.join(leftovers) or 'none'} |")
    for name, ratio in grown.items():
        print(f"| {name}: last third over first | {ratio:.3f} |")
    sound = statuses == (0, 0) and not difference and not leftovers and max(grown.values()) <= GROWTH
    if sound:
        shutil.rmtree(place)
    else:
        print(f"Not as it should be; what was left is in {place}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
