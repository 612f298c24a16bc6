"""W&B as a mirror: whatever becomes of its server or its service, a run goes on, ends in time and says what W&B has.

The client and its service are the real ones, the server is the stand-in on the loopback, signals are real.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from experiment.run_folder import read_rows
from tests.faults.led_run import ROOT, MirroredRun
from tests.wandb_server import FAULTS, KEY, WandbServer

SMALL = ["data=shapes", "data.image_size=67", "data.train_sizes=[67]", "data.images_per_class=10", "data.batch_size=8",
         "viz.probes=[circle]", "viz.top_maps=0", "viz.sensitivity=false", "trainer.max_epochs=4"]  # fmt: skip
AT_ONCE = 4.0  # seconds that a call may take which waits for nothing, on a machine that now and then does something else
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


def seconds_of(what: str, output: str) -> float:
    found = re.search(rf"^{what}: ([\d.]+) s$", output, re.MULTILINE)
    assert found, output
    return float(found[1])


def sync(folder: Path, environment: dict[str, str], *options: str) -> None:
    """Upload a run as the last words say."""
    command = [sys.executable, "-m", "wandb", "sync", *options, str(folder)]
    done = subprocess.run(
        command,
        cwd=folder.parents[2],  # where W&B leaves logs of its own
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def sync_the_rest(server: WandbServer, output: str, environment: dict[str, str]) -> None:
    """Upload the rest as the last words say, once the server works again."""
    folder = folder_named_in(output, "W&B has not got all of this run. Upload the rest: wandb sync --no-skip-online")
    assert "W&B has the run" not in output
    server.fault = None
    sync(folder, environment, "--no-skip-online")


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
    page = f"{server.url}/someone/alexnet-zfnet-caltech101/runs/{known.name}"
    assert lines == [f"W&B shows the run: {page}", "last words", f"W&B has the run: {page}"]
    assert not server.unknown


@pytest.mark.parametrize("fault", ["nothing listens", *FAULTS])
def test_a_key_and_a_server_that_fails_at_the_start(
    fault: str, server: WandbServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """One line, then offline, which another says, within 30 seconds; and the run can be uploaded later."""
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
    before = output.split("start:")[0].splitlines()
    assert len(before) == 2 or before == ["W&B has not started after 28 s; the training doesn't wait for it"], output
    folder = folder_named_in(output, "wandb sync")
    assert f"W&B keeps the run offline. Look at it at any time: wandb leet {folder}\n" in output
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
    assert slowest < AT_ONCE
    assert seconds_of("finish", output) < 60 + 5
    sync_the_rest(server, output, environment)
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
    assert slowest < AT_ONCE
    assert "last words" in output
    assert seconds_of("finish", output) < 60 + 5
    if sign == signal.SIGKILL:
        assert output.count("W&B is off for the rest of this run") == 1
        assert seconds_of("finish", output) < 20, "nothing to wait for"
    # A killed service is a reset connection, a broken pipe or another error of W&B's, by what it is asked for at that moment.
    reason = r"\w+Error" if sign == signal.SIGKILL else "its end took more than 60 s"
    assert re.search(rf"W&B has only a part of this run \({reason}", output), output


def test_a_service_that_takes_no_more_is_given_up(server: WandbServer, environment: dict[str, str], tmp_path: Path) -> None:
    """Stopped, it takes what fits into a socket's buffer; then a call hangs, which is found out by a later one."""
    with MirroredRun(tmp_path / "run", environment, {"CALL_SECONDS": 5.0}) as run:
        run.log_epochs(1)
        run.service().send_signal(signal.SIGSTOP)
        slowest = run.log_epochs(300)
        time.sleep(6)
        slowest = max(slowest, run.log_epochs(2))
        output = run.end()
    assert slowest < AT_ONCE
    assert output.count("W&B is off for the rest of this run (it has not answered for 5 s)") == 1
    assert seconds_of("finish", output) < 20


def test_a_full_queue_switches_the_mirror_off(server: WandbServer, environment: dict[str, str], tmp_path: Path) -> None:
    with MirroredRun(tmp_path / "run", environment, {"QUEUE_LENGTH": 20, "FINISH_SECONDS": 8.0}) as run:
        run.log_epochs(1)
        run.service().send_signal(signal.SIGSTOP)
        slowest = run.log_epochs(300)
        output = run.end()
    assert slowest < AT_ONCE
    assert output.count("W&B is off for the rest of this run (20 calls wait for it)") == 1
    assert seconds_of("finish", output) < 20


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
    sync_the_rest(server, output, environment)
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
    command = [sys.executable, "train.py", *SMALL, f"runs={tmp_path / 'runs'}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"train.py: {answer}"), done.stderr
    assert (len(done.stderr.splitlines()), done.stdout) == (1, "")
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_training_is_whole_without_its_service(
    sign: signal.Signals, server: WandbServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """The whole program, from the command line to its last line."""
    command = [sys.executable, "train.py", *SMALL, f"runs={tmp_path / 'runs'}", "name=run"]
    folder = tmp_path / "runs/run"
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as training:
        wait_for(lambda: (folder / "metrics.csv").exists() or training.poll() is not None, seconds=240)
        children = psutil.Process(training.pid).children(recursive=True)
        services = [process for process in children if process.name() == "wandb-core"]
        assert len(services) == 1
        services[0].send_signal(sign)
        output, _ = training.communicate(timeout=240)
    assert training.returncode == 0, output
    assert "Traceback" not in output
    assert output.index("Everything is in") < output.index("W&B has only a part of this run")
    assert [row["epoch"] for row in read_rows(folder / "metrics.csv")] == [1, 2, 3, 4]
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 4
    assert len(list(folder.glob("pictures/denet/*/epoch-*.jpg"))) == 4
    assert not psutil.wait_procs(services, timeout=10)[1], "W&B's service outlives the run"
