"""Many machines share a study over PostgreSQL, and are killed with signal 9 in turn: every trial ends exactly once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from optuna.trial import TrialState

import sweep
from tests.postgres_server import PASSWORD, PostgresServer
from tests.trials.sweeps import starts, table, wait_for, written
from trials.processes import find_process
from trials.study import Study
from trials.sweep_file import read_sweep

ROOT = Path(__file__).parents[2]
RATES = [round(0.05 * number, 2) for number in range(1, 13)]
KILLS = 8
pytestmark = pytest.mark.slow


@pytest.fixture
def storage() -> Iterator[str]:
    server = PostgresServer()
    yield f"postgresql+psycopg://someone:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/postgres"
    server.close()


class Machine:
    """A worker with a folder of its own, as a machine has it."""

    def __init__(self, file: Path, folder: Path, storage: str) -> None:
        self.file, self.folder, self.storage = file, folder, storage
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            str(ROOT / "sweep.py"),
            str(self.file),
            "--runs",
            str(self.folder),
            "--storage",
            self.storage,
        ]
        self.before = self.begun()
        self.output = self.folder.with_suffix(".txt")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

    def begun(self) -> int:
        """How often it has started a training."""
        return sum(map(len, starts(self.folder).values()))

    def kill(self, with_training: bool) -> None:
        """Kill it once it has started a training, or has ended, and start it again."""
        wait_for(lambda: self.begun() > self.before or self.process.poll() is not None, 240)
        self.process.kill()
        self.process.wait()
        if with_training:
            study = Study(read_sweep(self.file), self.folder / "tried", self.storage)
            for trial in study.trials:
                own = self.folder in Path(trial.user_attrs.get("folder", "")).parents
                if trial.state == TrialState.RUNNING and own and (process := find_process(trial)):
                    os.kill(process.pid, signal.SIGKILL)
        self.start()


@pytest.mark.timeout(1800)
def test_four_machines_killed_in_turn(tmp_path: Path, storage: str) -> None:
    file = written(tmp_path, {"lr": RATES, "epochs": {"value": 4}, "pace": {"value": 0.8}})
    machines = [Machine(file, tmp_path / name, storage) for name in "abcd"]
    for number in range(KILLS):
        machines[number % 4].kill(with_training=number % 2 == 1)
    for machine in machines:
        assert machine.process.wait(timeout=600) == 0, machine.output.read_text()
    assert sweep.main([str(file), "--runs", str(tmp_path / "a"), "--storage", storage]) == 0
    rows = table(tmp_path / "a")
    assert sorted(float(row["lr"]) for row in rows) == RATES
    assert {row["ended"] for row in rows} == {"finished"}
    assert [float(row["best"]) for row in rows] == pytest.approx([float(row["lr"]) for row in rows])
    assert len(list(tmp_path.glob("*/tried/trial-*/summary.json"))) == len(RATES), "each ended once"
    assert sum(bool(starts(machine.folder)) for machine in machines) == 4, "all four took part"
