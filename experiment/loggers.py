"""Where a run's curves go besides its own folder: W&B, Lightning's CSV log, or nowhere."""

import contextlib
import io
import logging
import os
import typing
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from configs import LoggerSettings, SettingsError

if TYPE_CHECKING:
    import wandb

Mode = Literal["online", "offline"]

WANDB_START_SECONDS = 20
WANDB_FINISH_SECONDS = 120


def build_logger(settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> Logger | None:
    """Build the logger that the settings name, None for ``none``. Call it on rank zero only.

    W&B runs online where there is a key and its server answers, else offline in ``folder``, which one line says. A resumed
    run continues the same online run; offline, each start is a run of its own, to which the recorder sends all epochs.

    Args:
        settings: which logger and how.
        folder: the run's folder, whose name becomes the run's name.
        config: flat settings, shown beside the run.

    Raises:
        SettingsError: W&B's server doesn't answer, and ``logger.mode=online`` leaves no other way.
    """
    if settings.name == "csv":
        return CSVLogger(folder, name="csv", version="", flush_logs_every_n_steps=1)
    if settings.name == "none":
        return None
    return WandbLogger(experiment=_start_wandb(settings, folder, config))


def finish_logger(logger: Logger | None, summary: dict[str, Any], exit_code: int = 0) -> Path | None:
    """Write the run's last figures and close it. Returns the folder of an offline W&B run, to be synchronised later.

    W&B shows a run whose ``exit_code`` isn't 0 as failed.
    """
    if not isinstance(logger, WandbLogger):
        return None
    run = logger.experiment
    logged = set(run.summary.keys())  # what was logged by epoch W&B has summed up itself, val/accuracy by its maximum
    run.summary.update({name: value for name, value in summary.items() if name not in logged})
    offline = Path(run.settings.sync_dir) if run.settings.mode == "offline" else None
    run.finish(exit_code=exit_code)
    return offline


def quiet_lightning() -> None:
    """Silence Lightning's advice that doesn't fit here, so that what matters is seen. Errors are still shown."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # loading is cheap beside a step on a CPU
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")  # a resumed run's does
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning's own use of torch
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")  # nothing is logged by step
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # what one process alone has measured


def _start_wandb(settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> "wandb.Run":
    import wandb  # here, as only this logger needs it and it takes a second

    id_file = folder / "wandb-id"

    def start(mode: Mode | None) -> wandb.Run:
        earlier = id_file.read_text() if id_file.exists() and mode != "offline" else None
        return wandb.init(
            id=earlier,
            resume="allow",
            project=None if "WANDB_SWEEP_ID" in os.environ else settings.project,  # a sweep has its own
            entity=settings.entity,
            group=settings.group,
            name=folder.name,
            dir=folder,
            config=config,
            job_type="train",
            tags=[str(config["model.name"]), str(config["data.name"])],
            mode=mode,  # None for what WANDB_MODE says
            settings=wandb.Settings(
                quiet=True,
                console="off",
                init_timeout=WANDB_START_SECONDS,
                finish_timeout=WANDB_FINISH_SECONDS,
            ),
        )

    mode = _wandb_mode(settings.mode)
    try:
        run = start(mode)
    except wandb.errors.CommError as problem:
        reason = str(problem).splitlines()[0]
        if settings.mode == "online":
            raise SettingsError(f"logger.mode=online: W&B does not answer ({reason}); take logger.mode=auto") from problem
        print(f"W&B does not answer ({reason}): this run is logged offline")
        run = start("offline")
    if run.settings.mode == "online":
        id_file.write_text(run.id)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    run.define_metric("val/accuracy", step_metric="epoch", summary="max")
    return run


def _wandb_mode(asked: str) -> Mode | None:
    """Choose the mode to start W&B in: as asked, else as WANDB_MODE says (None), else offline where nobody is logged in."""
    if asked in ("online", "offline"):
        return typing.cast(Mode, asked)
    if "WANDB_MODE" in os.environ:
        return None
    import wandb

    with contextlib.redirect_stderr(io.StringIO()):
        logged_in = wandb.login(prompt=False)
    if logged_in:
        return "online"
    print("W&B: no key on this machine (`wandb login` adds one), so this run is logged offline")
    return "offline"
