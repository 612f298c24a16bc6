"""A fault of the program: its traceback in the run's folder, one line on the terminal, and a run that can be resumed."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from configs.parser import parse
from experiment.faults import report_fault
from experiment.run_folder import Run, read_rows
from tests.experiment.test_train import SMALL, run

ROOT = Path(__file__).parents[2]

FAILING_CALLBACK = """
    import sys, train
    from experiment.divergence import StopOnDivergence
    def fail(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1:
            raise ZeroDivisionError("a slip in a callback")
    StopOnDivergence.on_train_batch_end = fail
    sys.exit(train.main(sys.argv[1:]))
"""

FAILING_DATA = """
    import sys, train
    from datamodules.shapes import Shapes
    def fail(self):
        raise ZeroDivisionError("a slip in a data set")
    Shapes.read = fail
    sys.exit(train.main(sys.argv[1:]))
"""


def run_program(program: str, *arguments: str) -> tuple[int, str, str]:
    """Run a program that trains with a fault in it. Returns exit status, standard output and standard error."""
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_fault_in_a_run_is_told_apart_from_its_users_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status, output, errors = run_program(FAILING_CALLBACK, *SMALL, f"runs={tmp_path}", "name=run")
    assert status == 70, errors
    (line,) = errors.strip().splitlines()
    assert line == (
        "train.py: a fault of the program (ZeroDivisionError), not of your settings. "
        f"The traceback is in {folder / 'error.txt'}. "
        f"Finished epochs are kept; resume with: python train.py resume={folder}"
    )
    assert "Traceback" not in output
    written = (folder / "error.txt").read_text()
    assert written.startswith("python train.py data=shapes")
    assert "Traceback" in written
    assert written.endswith("ZeroDivisionError: a slip in a callback\n")
    assert len(read_rows(folder / "metrics.csv")) == 1
    status, output = run(f"resume={folder}")
    assert status == 0, output
    assert len(read_rows(folder / "metrics.csv")) == 3
    assert not (folder / "error.txt").exists(), "it belongs to what was before"


@pytest.mark.slow
def test_a_fault_before_there_is_a_folder_goes_to_the_terminal_whole(tmp_path: Path) -> None:
    status, _, errors = run_program(FAILING_DATA, *SMALL, f"runs={tmp_path}")
    assert status == 70
    assert errors.startswith("Traceback")
    *_, raised, line = filter(None, errors.splitlines())
    assert raised == "ZeroDivisionError: a slip in a data set"
    assert line == "train.py: a fault of the program (ZeroDivisionError), not of your settings. The traceback is above."
    assert not list(tmp_path.iterdir())


def test_a_traceback_that_cant_be_written_goes_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = Run(parse(["data=shapes"]), None, "python train.py", tmp_path / "gone")
    assert report_fault(ValueError("a slip"), gone) == 70
    errors = capsys.readouterr().err
    assert errors.startswith("ValueError: a slip\n")
    assert "The traceback is above. No epoch had ended: start it anew" in errors.splitlines()[-1]
