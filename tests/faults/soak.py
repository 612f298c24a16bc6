"""One long run with faults of all kinds beside one without: ``python -m tests.faults.soak > soak.md``, about ten minutes.

A run of 300 tiny epochs is disturbed every few epochs and resumed where it has ended. It must end as the run beside it, which
nothing disturbs, to the last bit; and memory, threads, open files and disk of both must stay flat. Progress goes to standard
error, the result as Markdown to standard output. The exit status is 1 where something is not as it should be.
"""

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from experiment.hardware import describe_hardware
from tests.faults.kill_chain import assert_same_record
from tests.faults.soaked_run import FAULTS, Sample, SoakedRun

FEWEST, MOST = 3, 14  # epochs between two faults
POLL = 0.2  # seconds
LINES = 10  # of the table over time
GROWTH = 1.15
"""What is flat is at most so much larger in the last third of a run than in the first, by the largest values."""

LARGEST_ROW = 4000
"""Bytes that an epoch may add to a run's folder, pictures aside: its row, in metrics.csv, the checkpoint and the page."""


def kinds(rng: random.Random) -> Iterator[str]:
    """The faults in random order, again and again, so that none is left out."""
    while True:
        yield from rng.sample(list(FAULTS), len(FAULTS))


def soak(quiet: SoakedRun, rough: SoakedRun, rng: random.Random) -> Counter[str]:
    """Let both runs train to their ends and disturb one of them. Returns how often which fault was caused."""
    caused: Counter[str] = Counter()
    order, due = kinds(rng), rng.randint(FEWEST, MOST)
    quiet.start()
    rough.start()
    while None in (statuses := (quiet.poll(), rough.poll())):
        if statuses[1] is None and due <= rough.epoch <= rough.epochs - FEWEST:
            fault = next(order)
            say(f"epoch {rough.epoch} of {rough.epochs} (undisturbed: {quiet.epoch}): {fault}")
            caused[fault] += 1
            FAULTS[fault](rough, rng)
            due = rough.epoch + rng.randint(FEWEST, MOST)
        time.sleep(POLL)
    say("both have ended")
    return caused


def say(words: str) -> None:
    print(time.strftime("%H:%M:%S"), words, file=sys.stderr, flush=True)


def growth(samples: list[Sample], name: str) -> float:
    """How many times as large the largest value of the last third is as that of the first, the very first epochs aside."""
    values = [getattr(sample, name) for sample in samples[len(samples) // 10 :]]
    third = max(1, len(values) // 3)
    return float(max(values[-third:]) / max(values[:third]))


def disk_per_epoch(samples: list[Sample]) -> float:
    """How many bytes an epoch has added to the run's folder, but for pictures and W&B's copies.

    The very first epochs aside, in which the first checkpoint and page come.
    """
    first, last = samples[len(samples) // 10], samples[-1]
    return (last.disk - first.disk) / max(1, last.epoch - first.epoch)


def findings(quiet: SoakedRun, rough: SoakedRun) -> list[str]:
    """What is not as it should be, in a line each."""
    found = [f"a run ended with {run.process.returncode}; see {run.log}" for run in (quiet, rough) if run.process.returncode]
    try:
        assert_same_record(rough.folder, quiet.folder)
    except (AssertionError, OSError) as problem:
        found.append(f"the runs differ: {str(problem).splitlines()[0]}")
    for run in (quiet, rough):
        logs = sorted(run.folder.parent.glob("*.log"))
        found += [f"a traceback in {log}" for log in logs if "Traceback" in log.read_text(errors="replace")]
        name = run.folder.parent.name
        for figure in ("memory", "threads", "files"):
            if (ratio := growth(run.samples, figure)) > GROWTH:
                found.append(f"{figure} of the {name} run: {ratio:.2f} times as much at the end")
        if (more := disk_per_epoch(run.samples)) > LARGEST_ROW:
            found.append(f"disk of the {name} run: {more:.0f} bytes more each epoch")
    return found


def table(run: SoakedRun) -> list[str]:
    """The samples over time, some ten of them."""
    lines = [
        f"| {run.folder.parent.name}: epoch | memory, MB | threads | open files | disk, kB |", "|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for sample in run.samples[:: -(-len(run.samples) // LINES)]:
        lines.append(
            f"| {sample.epoch} | {sample.memory / 1e6:.0f} | {sample.threads} | {sample.files} | {sample.disk / 1e3:.1f} |"
        )
    return [*lines, ""]


def report(quiet: SoakedRun, rough: SoakedRun, caused: Counter[str], seed: int, seconds: float) -> str:
    """What happened, as Markdown."""
    ends = rough.ends + Counter([rough.process.returncode])
    return "\n".join([
        "# A soak", "",
        f"`python -m tests.faults.soak --epochs {rough.epochs} --seed {seed}`, {seconds / 60:.0f} minutes;",
        f"{describe_hardware()}, torch {torch.__version__}.", "",
        "| fault | times |", "|---|---:|",
        *(f"| {fault} | {caused[fault]} |" for fault in FAULTS), f"| all | {caused.total()} |", "",
        "| exit status of the disturbed run's processes | times |", "|---|---:|",
        *(f"| {status} | {count} |" for status, count in sorted(ends.items())), "",
        "Disk is the run's folder without pictures and W&B's copies: there are more of these after each look and each start.",
        f"An epoch adds its row of figures: {disk_per_epoch(quiet.samples):.0f} bytes of the undisturbed run,"
        f" {disk_per_epoch(rough.samples):.0f} of the disturbed one.", "",
        *table(quiet), *table(rough),
    ])  # fmt: skip


def main(arguments: list[str]) -> int:
    """Soak, compare, print the result. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--epochs", type=int, default=300, help="of both runs [default: 300]")
    parser.add_argument("--seed", type=int, default=1, help="of the faults [default: 1]")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that no run is left behind
    began, place = time.monotonic(), Path(tempfile.mkdtemp(prefix="soak-"))
    with contextlib.ExitStack() as ends:
        quiet = ends.enter_context(SoakedRun(place / "undisturbed/run", options.epochs))
        rough = ends.enter_context(SoakedRun(place / "disturbed/run", options.epochs))
        caused = soak(quiet, rough, random.Random(options.seed))
    print(report(quiet, rough, caused, options.seed, time.monotonic() - began))
    if found := findings(quiet, rough):
        print("Not as it should be:", *(f"- {line}" for line in found), f"\nAll is kept in {place}", sep="\n")
        return 1
    print("The disturbed run ended as the other one, to the last bit; memory, threads, open files and disk stayed flat.")
    shutil.rmtree(place)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
