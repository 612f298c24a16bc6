"""Where a run's curves go besides its own folder: W&B, TensorBoard, Lightning's CSV log, or nowhere."""

import functools
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from lightning.pytorch.loggers import CSVLogger, Logger

from configs import LoggerSettings, SettingsError
from experiment.agent import trial_name
from experiment.dashboard import Dashboard
from experiment.tensorboard_mirror import TensorBoardMirror, check_tensorboard
from experiment.wandb_mirror import UPLOAD_SECONDS, WandbMirror

if TYPE_CHECKING:
    import wandb

Mode = Literal["online", "offline", "shared"]

INIT_SECONDS = 10.0
"""Of W&B's own waiting for an answer to its first words. Asking for the key's owner before takes up to ten more."""


def check_logger(settings: LoggerSettings) -> None:
    """Raise SettingsError for settings and environment variables that the logger refuses. Asks no server."""
    if settings.name == "tensorboard":
        check_tensorboard()
    if settings.name != "wandb":
        return
    import wandb  # here, as only this logger needs it and it takes a second

    try:
        wandb.Settings(project=settings.project)
    except wandb.errors.UsageError as mistake:
        raise SettingsError(f"logger.project={settings.project}: {_first_line(mistake)}") from mistake
    try:
        wandb.Settings().update_from_env_vars(dict(os.environ))
    except wandb.errors.UsageError as mistake:
        raise SettingsError(f"W&B: {_first_line(mistake)}") from mistake
    except ValueError as mistake:  # pydantic's, in four lines: a heading, the field, what is wrong, a page about it
        _, field, wrong, *_ = str(mistake).splitlines()
        variable = f"WANDB_{field.upper()}"
        name = f"{variable}={os.environ[variable]}" if variable in os.environ else f"W&B's setting {field}"
        raise SettingsError(f"{name}: {wrong.partition(' [type=')[0].strip()}") from mistake


def build_logger(
    settings: LoggerSettings, folder: Path, config: dict[str, Any], dashboard: Dashboard | None = None
) -> Logger | None:
    """Build the logger that the settings name, None for ``none``. Call it on rank zero only.

    W&B runs online where there is a key and its server answers, else offline in ``folder``, which one line says. A resumed
    run continues the same online run; offline, each start is a run of its own, to which the recorder sends all epochs.

    Args:
        settings: which logger and how.
        folder: the run's folder, whose name becomes the run's name where ``run_name`` is none.
        config: flat settings, shown beside the run.
        dashboard: how W&B shows the run [default: few panels, the pictures of each epoch].

    Raises:
        SettingsError: W&B's server doesn't answer, and ``logger.mode=online`` leaves no other way.
    """
    if settings.name == "tensorboard":
        return TensorBoardMirror(folder, config)
    if settings.name == "csv":
        return CSVLogger(folder, name="csv", version="", flush_logs_every_n_steps=1)
    if settings.name == "none" or (settings.mode == "auto" and os.environ.get("WANDB_MODE") == "disabled"):
        return None
    start = functools.partial(_start_wandb, settings, folder, config)
    return WandbMirror(start, folder, dashboard or Dashboard(), required=settings.mode == "online")


def finish_logger(logger: Logger | None, summary: dict[str, Any], exit_code: int = 0) -> None:
    """Give the logger the run's last figures, close it and say where they are; to W&B another code than 0 is a failed run."""
    if isinstance(logger, WandbMirror):
        logger.finish(summary, exit_code)
    elif isinstance(logger, TensorBoardMirror):
        logger.finish(summary)


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
    import wandb

    asked = os.environ.get("WANDB_MODE", "online") if settings.mode == "auto" else settings.mode
    mode = cast(Mode, {"dryrun": "offline", "run": "online"}.get(asked, asked))  # W&B's earlier names
    online = mode != "offline"
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's reports on itself; where they fail, the terminal says so
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))  # of tables' pictures until they are uploaded; else in $HOME
    try:
        wandb.setup(wandb.Settings(silent=True, mode=mode))
        if online and not wandb.login(prompt=False):  # asks the server too
            raise wandb.errors.AuthenticationError("no key on this machine; `wandb login` adds one")
        run = _init(mode, settings, folder, config)
    except wandb.errors.Error as problem:
        if settings.mode == "online":
            raise SettingsError(f"logger.mode=online: {_first_line(problem)}; take logger.mode=auto") from problem
        if not online:
            raise
        print(f"W&B: {_first_line(problem)}. This run is logged offline", flush=True)
        run = _init("offline", settings, folder, config)
    if not run.offline:
        (folder / "wandb-id").write_text(run.id)
        if settings.run_name is None and (name := trial_name(run, config)):
            run.name = name
    return run


def _init(mode: Mode, settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> "wandb.Run":
    import wandb

    id_file = folder / "wandb-id"
    return wandb.init(
        id=id_file.read_text() if id_file.exists() and mode != "offline" else None,
        resume="allow",
        project=None if "WANDB_SWEEP_ID" in os.environ else settings.project,  # a sweep has its own
        entity=settings.entity,
        group=settings.group,
        name=settings.run_name or folder.name,
        dir=folder,
        config=config,
        job_type="train",
        tags=[str(config["model.name"]), str(config["data.name"])],
        mode=mode,
        settings=wandb.Settings(
            silent=True,
            console="off",
            allow_media_symlink=True,  # a picture lies on disk once: W&B's copy is a link,
            symlink=False,  # and a hard one, as runs' folders are moved
            init_timeout=INIT_SECONDS,
            finish_timeout=UPLOAD_SECONDS,
            finish_timeout_raises=True,
        ),
    )


def _first_line(problem: Exception) -> str:
    return str(problem).splitlines()[0].rstrip(".")
