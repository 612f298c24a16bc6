"""A training outlives its sweep and is found again."""

import socket
import sys
from pathlib import Path

import optuna
import pytest

from tests.trials.sweeps import wait_for
from trials.processes import find_process, output_file, start_process


def test_a_training_is_found_though_its_process_was_never_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the sweep was killed just after it had started it."""
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING)
    folder = tmp_path / "trial-000"
    trial.set_user_attr("folder", str(folder))
    trial.set_user_attr("host", socket.gethostname())
    assert find_process(trial) is None
    code = "import time; print('here', flush=True); time.sleep(600)"
    training = start_process([sys.executable, "-c", code], folder, {})
    try:
        wait_for(lambda: output_file(folder).read_text() == "here\n")
        found = find_process(trial)
        assert found is not None
        assert found.pid == training.pid
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
        assert find_process(trial) is None
    finally:
        training.kill()
        training.wait()
    monkeypatch.undo()
    assert find_process(trial) is None
