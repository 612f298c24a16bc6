"""A run's folder in use, moved, deleted, or on a full disk; signals; a loading process that was killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from lightning import Callback, LightningModule, Trainer

from configs import SettingsError
from datamodules.datamodule import ImageDataModule
from experiment import distributed
from experiment.csv_recorder import CSVRecorder
from experiment.run_folder import read_rows
from experiment.run_lock import FolderGuard, lock_folder
from experiment.visualization import build_probes
from lightning_modules.classifier import Classifier
from tests.experiment.test_train import SMALL, run, start, wait_for
from viz_callbacks.callbacks import FilterPictures

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from experiment.run_lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_folder_is_written_by_one_process_and_free_when_it_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(SettingsError, match="another process trains in this folder"):
        lock_folder(tmp_path, patience=0.1)
    holder.kill()
    holder.communicate()
    assert lock_folder(tmp_path).is_locked


class Disturb(Callback):
    """Does something to the folder after the first epoch, before anything is written."""

    def __init__(self, disturb: Callable[[], object]) -> None:
        self.disturb = disturb

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.disturb()


@pytest.mark.parametrize("what", ["moved", "deleted"])
def test_a_folder_that_is_gone_ends_the_training_and_is_not_made_anew(
    what: str, classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    lock = lock_folder(folder)

    def move() -> None:
        folder.rename(tmp_path / "elsewhere")

    disturb = Disturb(move if what == "moved" else lambda: shutil.rmtree(folder))
    recorder = CSVRecorder(folder, "title")
    with pytest.raises(FileNotFoundError, match=str(folder)):
        make_trainer(3, [disturb, FolderGuard(folder), recorder]).fit(classifier, shapes)
    assert not folder.exists()
    assert len(recorder.rows) == 1
    lock.release()


def test_a_disk_too_full_for_pictures_and_figures_is_a_warning_each(
    classifier: Classifier,
    shapes: ImageDataModule,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Files where folders should be stand for it: the system refuses every write below them."""
    (tmp_path / "pictures").touch()
    probes = build_probes(shapes, [])
    pictures, recorder = FilterPictures(tmp_path / "pictures", probes), CSVRecorder(tmp_path / "nowhere", "title")
    make_trainer(3, [pictures, recorder]).fit(classifier, shapes)
    assert len(recorder.rows) == 3, "the training went on"
    output = capsys.readouterr().out
    assert output.count("pictures of filters are missing from epoch 1 on") == 1
    assert output.count(f"'{tmp_path / 'nowhere/metrics.csv'}': the figures are kept in the checkpoint") == 1


def test_slurm_requeues_a_job_that_was_warned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path / "asked"}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(distributed, "_received", [])
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    assert distributed.requeue_job() is None, "no warning came"
    before = {number: signal.getsignal(number) for number in [*distributed.SIGNALS, signal.SIGINT]}
    try:
        for number in distributed.SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # whatever the tests themselves were started with, such as nohup
        distributed.install_signal_handlers()
        for number in distributed.SIGNALS:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert distributed.requeue_job() == "SLURM has requeued job 42"
    assert (tmp_path / "asked").read_text() == "requeue 42\n"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    scontrol.write_text("#!/bin/sh\nexit 1\n")
    assert str(distributed.requeue_job()).startswith("SLURM did not requeue job 40_2: ")


def test_nohup_stays_deaf_to_the_closed_terminal() -> None:
    program = """if True:
        import signal
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        from experiment.distributed import install_signal_handlers
        install_signal_handlers()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    """
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.slow
def test_a_killed_loading_process_is_one_line_and_the_run_resumes(tmp_path: Path) -> None:
    process = start(*SMALL, f"runs={tmp_path}", "name=run", "data.workers=2", "trainer.max_epochs=4")
    wait_for(process, tmp_path / "run/checkpoints/last.ckpt")
    loaders = psutil.Process(process.pid).children()
    assert loaders, "there is nothing to kill"
    loaders[0].kill()
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    assert "DataLoader worker" in output.splitlines()[-1]
    assert f"resume with: python train.py resume={tmp_path / 'run'}" in output.splitlines()[-1]
    assert "Traceback" not in output
    status, output = run(f"resume={tmp_path / 'run'}", "data.workers=0")
    assert status == 0, output
    assert len(read_rows(tmp_path / "run/metrics.csv")) == 4


@pytest.mark.slow
def test_no_key_is_in_any_file_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0123456789abcdef" * 2 + "deadbeef"
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_MODE", "offline")
    status, output = run(*SMALL, "logger=wandb", f"runs={tmp_path}", "trainer.max_epochs=1", "viz.every_n_epochs=0")
    assert status == 0, output
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.suffix == ".wandb" for file in files)
    assert [file for file in files if key.encode() in file.read_bytes()] == []
    assert key not in output


@pytest.mark.slow
def test_a_run_that_cant_be_set_up_leaves_no_folder(tmp_path: Path) -> None:
    status, output = run(*SMALL, f"runs={tmp_path}", "name=run", largest_file=100)
    assert status == 1, output
    assert output.strip().splitlines()[-1].startswith("train.py: [Errno 27] File too large: ")
    assert "Traceback" not in output
    assert os.listdir(tmp_path) == []
