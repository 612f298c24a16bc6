"""A process of ``mirrored_run.py``, led word by word by ``test_wandb.py``."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]


class MirroredRun:
    """The process, in a folder and an environment of its own; ``limits`` are shorter ones for the constants of these names."""

    def __init__(self, folder: Path, environment: dict[str, str], limits: dict[str, float] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.output = ""
        command = [sys.executable, "-m", "tests.faults.mirrored_run", str(folder), json.dumps(limits or {})]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.epochs = 0

    def __enter__(self) -> "MirroredRun":
        return self

    def __exit__(self, *exception: Any) -> None:
        for service in self.services():
            service.kill()
        self.process.kill()

    def services(self) -> list[psutil.Process]:
        """The processes that it has started, and those that they have."""
        return psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []

    def service(self) -> psutil.Process:
        (service,) = (process for process in self.services() if process.name() == "wandb-core")
        return service

    def tell(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def wait_for(self, words: str) -> float:
        """Read up to the line with these words. Returns the seconds that it ends with, 0 if it names none."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if words in line:
                found = re.search(r": ([\d.]+) s$", line.strip())
                return float(found[1]) if found else 0.0
        raise AssertionError(f"no '{words}' in:\n{self.output}")

    def log_epochs(self, count: int) -> float:
        """Log so many epochs. Returns the seconds of the slowest."""
        slowest = 0.0
        for _ in range(count):
            self.epochs += 1
            self.tell("epoch")
            slowest = max(slowest, self.wait_for(f"epoch {self.epochs}:"))
        return slowest

    def end(self, word: str = "end", timeout: float = 120) -> str:
        """Let it end. Returns all that it printed."""
        self.tell(word)
        return self.remaining(timeout)

    def remaining(self, timeout: float = 120) -> str:
        services = self.services()
        output, _ = self.process.communicate(timeout=timeout)
        self.output += output
        assert self.process.returncode == 0, self.output
        assert "Traceback" not in self.output, self.output
        assert not psutil.wait_procs(services, timeout=10)[1], "W&B's service outlives the run"
        return self.output
