"""W&B is asked for an answer, and leaves nothing behind: by the real client and its service, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ASKS = """
import contextlib, os, signal, sys
import psutil
from experiment import wandb_service

def services():
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child] if child.name() == "wandb-core" and child.status() != psutil.STATUS_ZOMBIE else []
    return found

def start():
    import wandb
    wandb.setup(wandb.Settings(silent=True))
    wandb.init(mode="offline", dir=sys.argv[1])
    (service,) = services()
    return wandb.run, service

def question():
    run, service = started or start()
    print("asked", flush=True)
    if sys.argv[2] == "mistake":
        raise KeyError("what it raises")
    if sys.argv[2] == "stopped":
        service.send_signal(signal.SIGSTOP)
        run.finish()
    return "what it returns"

started = start() if sys.argv[2] == "stopped" else None  # the time that this takes is not part of the question's
wandb_service.ANSWER_SECONDS = float(sys.argv[3])
try:
    print(wandb_service.ask(question))
except Exception as problem:
    print(repr(problem))
print(services())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "seconds", "answer"),
    [
        ("well", 200, "what it returns"),
        ("mistake", 200, "KeyError('what it raises')"),
        ("stopped", 10, "TimeoutError('no answer after 10 s')"),
    ],
)
def test_an_answer_comes_in_time_or_not_at_all_and_no_process_stays(
    case: str, seconds: int, answer: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", ASKS, str(tmp_path), case, str(seconds)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}  # a service of the tests' own
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=300)
    assert (done.stdout.splitlines(), done.returncode) == (["asked", answer, "[]"], 0), done.stderr
    if case != "stopped":  # once its service is killed, W&B's own threads may have a word to say
        assert done.stderr == ""
