"""Many devices: what Lightning's Trainer is told about them, and how the processes of a training end together."""

import os
import signal
import subprocess
from dataclasses import dataclass
from types import FrameType
from typing import TypedDict

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from configs import Settings, SettingsError
from experiment.hardware import Precision

REFUSALS = (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError)
"""What Lightning raises for devices, strategies and precisions that it can't have, and for packages that they would need."""


class TrainerOptions(TypedDict):
    """What a Trainer is told about devices."""

    accelerator: str
    devices: str
    num_nodes: int
    strategy: str
    precision: Precision


@dataclass(frozen=True)
class RankInfo:
    """How many processes train together, and whether this one is the first of them."""

    world_size: int
    is_global_zero: bool


def trainer_options(settings: Settings, precision: Precision) -> tuple[TrainerOptions, RankInfo]:
    """Return what a Trainer is told about devices, and this process's rank under them.

    A Trainer is made of these options alone, to see what Lightning refuses before a run has left anything behind.

    Args:
        settings: of the run; ``trainer`` and the network's norm count.
        precision: the numbers to compute with, as Lightning calls them.

    Raises:
        SettingsError: Lightning can't have these devices, or the network can't be trained on them.
    """
    asked = settings.trainer
    options: TrainerOptions = {
        "accelerator": asked.accelerator, "devices": asked.devices, "num_nodes": asked.num_nodes,
        "strategy": asked.strategy, "precision": precision,
    }  # fmt: skip
    try:
        trial = Trainer(**options, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    except REFUSALS as refusal:
        chosen = " ".join(f"trainer.{name}={value}" for name, value in options.items() if value != "auto")
        raise SettingsError(f"{chosen}: {str(refusal).splitlines()[0]}") from refusal
    if trial.world_size > 1 and settings.model.norm == "batch" and isinstance(trial.accelerator, CPUAccelerator):
        raise SettingsError("model.norm=batch: CPU processes can't share its statistics; use one process, or GPUs")
    return options, RankInfo(trial.world_size, trial.is_global_zero)


SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
"""What ends a training as Ctrl-C does: a scheduler, a closed terminal, SLURM's warnings before the time is over."""

_received: list[int] = []


def install_signal_handlers() -> None:
    """Treat SIGNALS as Ctrl-C. Processes that rank zero started ignore them: it ends them itself (``TerminateWorkers``)."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as after nohup
            signal.signal(number, _interrupt if first else signal.SIG_IGN)
    if not first:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def requeue_job() -> str | None:
    """Put the SLURM job back into its queue where SIGUSR1 said that its time is over, as Lightning would.

    Returns:
        What came of it, in one line; None where there was nothing to do.
    """
    environment = os.environ
    if "SLURM_JOB_ID" not in environment or getattr(signal, "SIGUSR1", None) not in _received:
        return None
    job = environment["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in environment:
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as problem:
        return f"SLURM did not requeue job {job}: {problem}"
    return f"SLURM has requeued job {job}"


class TerminateWorkers(Callback):
    """A callback that ends the processes that Lightning has started when the first is interrupted or fails.

    They would wait for it for ever. Three interfaces here are private to Lightning, which offers no public way:

    - ``_signal_connector.register_signal_handlers`` and ``epoch_loop._broadcast_sigterm_tensor``: Lightning's own answer to
      SIGTERM broadcasts from inside the signal's handler, which hangs when the other processes are in the middle of a step;
      and to make up for it, it broadcasts before each batch, for which a GPU has to wait. Both are turned off, so that a
      process keeps the handler that it has (``install_signal_handlers``).
    - ``_SubprocessScriptLauncher``: it alone knows the processes.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Turn off Lightning's own answer to SIGTERM."""
        # The ignores: methods are replaced, which types forbid, since Lightning has no switch for what they do.
        trainer._signal_connector.register_signal_handlers = _do_nothing  # type: ignore[method-assign]  # no switch for it
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _do_nothing  # type: ignore[method-assign]  # no switch for it

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the others, and leave none for Lightning's observer, which would kill this process for their end."""
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            for process in launcher.procs:
                process.kill()
                process.wait()
            launcher.procs.clear()


def _do_nothing() -> None:
    pass
