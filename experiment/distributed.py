"""Many devices: what Lightning's Trainer is told about them, and how the processes of a training end together."""

import os
import signal
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from configs import Settings, SettingsError


def trainer_options(settings: Settings, precision: str) -> tuple[dict[str, Any], Trainer]:
    """What a Trainer is told about devices, and a Trainer made of nothing else, which knows this process's place.

    Making it shows what Lightning refuses before a run has left anything behind.

    Args:
        settings: of the run; ``trainer`` and the network's norm count.
        precision: the word for the numbers to compute with, as Lightning knows it.

    Raises:
        SettingsError: Lightning can't have these devices, or the network can't be trained on them.
    """
    asked = settings.trainer
    options: dict[str, Any] = {
        "accelerator": asked.accelerator, "devices": asked.devices, "num_nodes": asked.num_nodes,
        "strategy": asked.strategy, "precision": precision,
    }  # fmt: skip
    try:
        trial = Trainer(**options, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    except Exception as refusal:  # Lightning refuses in many types
        words = " ".join(f"trainer.{name}={value}" for name, value in options.items() if value != "auto")
        raise SettingsError(f"{words}: {str(refusal).splitlines()[0]}") from refusal
    if trial.world_size > 1 and settings.model.norm == "batch" and isinstance(trial.accelerator, CPUAccelerator):
        raise SettingsError("model.norm=batch: CPU processes can't share its statistics; use one process, or GPUs")
    return options, trial


def install_signal_handlers() -> None:
    """Take SIGTERM for Ctrl-C. Processes that rank zero started leave both to it: it ends them (``TerminateWorkers``)."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class TerminateWorkers(Callback):
    """Ends the processes that Lightning has started when the first is interrupted or fails; they would wait for it for ever.

    Lightning's own answer to SIGTERM broadcasts from inside the signal's handler, which hangs when the other processes are in
    the middle of a step; and to make up for it, it broadcasts before each batch, for which a GPU has to wait. Both are turned
    off: a process keeps the handler that it has (``install_signal_handlers``). Lightning offers no public way to do so.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Turn off Lightning's own answer to SIGTERM."""
        trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]  # replaced on purpose
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]  # likewise

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the others, and leave none for Lightning's observer, which would kill this process for their end."""
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            for process in launcher.procs:
                process.kill()
                process.wait()
            launcher.procs.clear()


def _nothing() -> None:
    pass
