"""W&B as a mirror: whatever becomes of its server or its service, a run goes on, ends in time and says what W&B has.

The client and its service are the real ones, the server is the stand-in on the loopback, signals are real.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.wandb_server import FAULTS, KEY, WandbServer

ROOT = Path(__file__).parents[2]
QUICK = {"UPLOAD_SECONDS": 4.0}  # what W&B may take for the rest of a run; 40 s by default
pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[WandbServer]:
    server = WandbServer()
    yield server
    server.close()


@pytest.fixture
def environment(server: WandbServer, tmp_path: Path) -> dict[str, str]:
    """Of a user who is logged in at the stand-in, in a home of their own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    folders = {name: str(tmp_path / name) for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR")}
    return clean | folders | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "PYTHONUNBUFFERED": "1"}


class MirroredRun:
    """A process of ``mirrored_run.py``, led word by word."""

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
        for process in [*self.services(), self.process]:
            process.kill()

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
        assert "Traceback" not in self.output
        assert not psutil.wait_procs(services, timeout=10)[1], "W&B's service outlives the run"
        return self.output


def seconds_of(what: str, output: str) -> float:
    found = re.search(rf"^{what}: ([\d.]+) s$", output, re.MULTILINE)
    assert found, output
    return float(found[1])


def sync(folder: Path, environment: dict[str, str]) -> None:
    """Upload a run as the last words say."""
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def sync_after(server: WandbServer, output: str, environment: dict[str, str]) -> None:
    """Upload the rest as the last words say, once the server works again."""
    folder = folder_named_in(output, "W&B has not got all of this run. Upload the rest: wandb sync")
    assert "W&B has the run" not in output
    server.fault = None
    sync(folder, environment)


def folder_named_in(output: str, words: str) -> Path:
    found = re.search(rf"{re.escape(words)} (\S+)$", output, re.MULTILINE)
    assert found, output
    return Path(found[1])


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.1)


def epochs_at(server: WandbServer) -> list[int]:
    (run,) = (run for run in server.runs.values() if run.history)
    return [row["epoch"] for row in run.history]


def test_a_server_that_works_gets_everything(server: WandbServer, environment: dict[str, str], tmp_path: Path) -> None:
    with MirroredRun(tmp_path / "run", environment) as run:
        run.log_epochs(3)
        output = run.end()
    assert epochs_at(server) == [1, 2, 3]
    (known,) = server.runs.values()
    assert known.exit_code == 0
    assert known.summary["diverged"] is False
    assert len([name for name in known.files if name.startswith("media")]) == 12
    lines = [line for line in output.splitlines() if not re.match(r"start|epoch|finish|W&B has 60 s for the rest", line)]
    assert lines == ["last words", f"W&B has the run: {server.url}/someone/alexnet-zfnet-caltech101/runs/{known.name}"]
    assert not server.unknown


@pytest.mark.parametrize("fault", ["nothing listens", *FAULTS])
def test_a_key_and_a_server_that_fails_at_the_start(
    fault: str, server: WandbServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """One line, then offline, within 30 seconds; and the run can be uploaded later."""
    server.fault = None if fault == "nothing listens" else fault
    elsewhere = environment
    if fault == "nothing listens":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            elsewhere = environment | {"WANDB_BASE_URL": f"http://127.0.0.1:{free.getsockname()[1]}"}
    with MirroredRun(tmp_path / "run", elsewhere) as run:
        run.wait_for("start:")
        run.log_epochs(2)
        output = run.end()
    assert seconds_of("start", output) < 30
    assert len(re.findall("This run is logged offline", output)) == 1
    assert len(output.split("start:")[0].splitlines()) == 1, output
    folder = folder_named_in(output, "wandb sync")
    assert [each.name for each in (tmp_path / "run/wandb").glob("*run-*")] == [folder.name], "no half run beside it"
    server.fault = None
    sync(folder, environment)
    assert epochs_at(server) == [1, 2]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_from_the_middle_on(
    fault: str, server: WandbServer, environment: dict[str, str], tmp_path: Path
) -> None:
    limits = {} if fault == "hangs" else QUICK
    with MirroredRun(tmp_path / "run", environment, limits) as run:
        run.log_epochs(2)
        server.fault = fault
        slowest = run.log_epochs(3)
        output = run.end()
    assert slowest < 1
    assert seconds_of("finish", output) < 60 + 5
    sync_after(server, output, environment)
    assert epochs_at(server) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_the_service_killed_or_stopped_in_the_middle(
    sign: signal.Signals, server: WandbServer, environment: dict[str, str], tmp_path: Path
) -> None:
    with MirroredRun(tmp_path / "run", environment) as run:
        run.log_epochs(2)
        run.service().send_signal(sign)
        slowest = run.log_epochs(4)
        time.sleep(2)
        slowest = max(slowest, run.log_epochs(1))
        output = run.end()
    assert slowest < 1
    assert "last words" in output
    assert seconds_of("finish", output) < 60 + 5
    if sign == signal.SIGKILL:
        assert output.count("W&B is off for the rest of this run") == 1
        assert seconds_of("finish", output) < 5, "nothing to wait for"
    reason = "ConnectionResetError|BrokenPipeError" if sign == signal.SIGKILL else "its end took more than 60 s"
    assert re.search(rf"W&B has only a part of this run \(({reason})", output)


def test_a_service_that_takes_no_more_is_given_up(server: WandbServer, environment: dict[str, str], tmp_path: Path) -> None:
    """Stopped, it takes what fits into a socket's buffer; then a call hangs, which is found out by a later one."""
    with MirroredRun(tmp_path / "run", environment, {"CALL_SECONDS": 5.0}) as run:
        run.log_epochs(1)
        run.service().send_signal(signal.SIGSTOP)
        slowest = run.log_epochs(300)
        time.sleep(6)
        slowest = max(slowest, run.log_epochs(2))
        output = run.end()
    assert slowest < 1
    assert output.count("W&B is off for the rest of this run (it has not answered for 5 s)") == 1
    assert seconds_of("finish", output) < 10


def test_a_full_queue_switches_the_mirror_off(server: WandbServer, environment: dict[str, str], tmp_path: Path) -> None:
    with MirroredRun(tmp_path / "run", environment, {"QUEUE_LENGTH": 20, "FINISH_SECONDS": 8.0}) as run:
        run.log_epochs(1)
        run.service().send_signal(signal.SIGSTOP)
        slowest = run.log_epochs(300)
        output = run.end()
    assert slowest < 1
    assert output.count("W&B is off for the rest of this run (20 calls wait for it)") == 1
    assert seconds_of("finish", output) < 10


def test_a_resumed_run_sends_what_the_server_lacks(server: WandbServer, environment: dict[str, str], tmp_path: Path) -> None:
    """Of three epochs the server got one before the service was killed."""
    with MirroredRun(tmp_path / "run", environment) as run:
        run.log_epochs(1)
        wait_for(lambda: any(each.history for each in server.runs.values()))
        run.service().send_signal(signal.SIGKILL)
        run.log_epochs(2)
        run.end()
    assert epochs_at(server) == [1]
    with MirroredRun(tmp_path / "run", environment) as run:
        run.tell("resume")
        run.wait_for("resumed")
        run.epochs = 3
        run.log_epochs(1)
        output = run.end()
    assert epochs_at(server) == [1, 2, 3, 4], output
    assert "W&B has the run" in output


def test_ctrl_c_ends_the_wait_at_once(server: WandbServer, environment: dict[str, str], tmp_path: Path) -> None:
    with MirroredRun(tmp_path / "run", environment) as run:
        run.log_epochs(2)
        server.fault = "hangs"
        run.log_epochs(1)
        run.tell("end")
        run.wait_for("Ctrl-C leaves at once")
        pressed = time.monotonic()
        run.process.send_signal(signal.SIGINT)
        output = run.remaining(timeout=20)
    assert time.monotonic() - pressed < 10
    sync_after(server, output, environment)
    assert epochs_at(server) == [1, 2, 3]


def test_a_program_that_ends_in_the_middle_leaves_in_time(
    server: WandbServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """As after a fault of the program, with W&B's service stopped: W&B's own handler at the exit would wait for ever."""
    with MirroredRun(tmp_path / "run", environment, {"FINISH_SECONDS": 8.0}) as run:
        run.log_epochs(1)
        run.service().send_signal(signal.SIGSTOP)
        output = run.end("leave", timeout=40)
    assert "W&B has only a part of this run (its end took more than 8 s)" in output


@pytest.mark.parametrize(
    ("arguments", "variables", "answer"),
    [
        (["logger.project=a/b"], {}, "logger.project=a/b: Invalid project name"),
        ([], {"WANDB_MODE": "bogus"}, "WANDB_MODE=bogus: Input should be 'online', 'offline'"),
        ([], {"WANDB_BASE_URL": "nonsense"}, "WANDB_BASE_URL=nonsense: "),
        ([], {"WANDB_BASE_URL": "http://"}, "WANDB_BASE_URL=http://: "),
        (["logger.mode=online"], {"WANDB_API_KEY": ""}, "logger.mode=online: no key on this machine"),
        (["logger.mode=online"], {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "logger.mode=online: "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], variables: dict[str, str], answer: str, environment: dict[str, str], tmp_path: Path
) -> None:
    small = ["data=shapes", "data.image_size=67", "data.images_per_class=10", "data.batch_size=8"]
    command = [sys.executable, "train.py", *small, f"runs={tmp_path / 'runs'}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"train.py: {answer}"), done.stderr
    assert (len(done.stderr.splitlines()), done.stdout) == (1, "")
    assert not list(tmp_path.glob("runs/*"))
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
