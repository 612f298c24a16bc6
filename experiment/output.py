"""Where a run's results go: its folder, locked while it writes there, and its logger."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from lightning.pytorch.loggers import Logger

from configs.parser import flat, save_settings
from datamodules.datamodule import ImageDataModule
from datamodules.splits import save_skipped, save_split
from experiment.csv_recorder import CSVRecorder
from experiment.dashboard import Dashboard, picture_interval
from experiment.distributed import RankInfo, TrainerOptions
from experiment.loggers import build_logger
from experiment.run_folder import ERROR_FILE, Run, new_folder
from experiment.run_lock import lock_folder
from experiment.summary import Metadata, code_version
from lightning_modules.classifier import Classifier
from lightning_modules.networks.summary import print_layer_table


@dataclass(frozen=True)
class Output:
    """Where a run's results go.

    rank_info: of this process; only the first of those that train together writes. folder: the run's. title: of its curves.
    logger: None for none, and in the other processes. metadata: what the summary says beside the figures.
    """

    rank_info: RankInfo
    folder: Path
    title: str
    recorder: CSVRecorder
    logger: Logger | None
    metadata: Metadata
    lock: FileLock | None


def open_output(
    run: Run, data: ImageDataModule, classifier: Classifier, options: TrainerOptions, rank_info: RankInfo
) -> Output:
    """Open the run's folder and logger, write down settings and split, and show the network.

    Raises:
        SettingsError: the folder can't be made, or W&B doesn't answer where ``logger.mode=online``.
    """
    settings = run.settings
    title = f"{settings.model.name} on {data.title}"
    metadata: Metadata = {
        "command": run.command,
        "input_size": data.image_size,
        "test_crops": settings.data.test_crops,
        "precision": options["precision"],
        "processes": rank_info.world_size,
        **code_version(),
    }
    if not rank_info.is_global_zero:
        unwritten = Path(settings.runs)
        return Output(rank_info, unwritten, title, CSVRecorder(unwritten, title), None, metadata, None)
    folder = run.folder = run.checkpoint.parent.parent if run.checkpoint else new_folder(settings)
    try:
        lock = lock_folder(folder)
        (folder / ERROR_FILE).unlink(missing_ok=True)  # of a fault before this run was resumed
        logger = _write_settings(run, folder, data, classifier, title, metadata, rank_info)
    except BaseException:  # a mistake, a full disk, Ctrl-C: a new run leaves nothing
        if run.checkpoint is None:
            shutil.rmtree(folder, ignore_errors=True)
            run.folder = None
        raise
    return Output(rank_info, folder, title, CSVRecorder(folder, title), logger, metadata, lock)


def _write_settings(
    run: Run, folder: Path, data: ImageDataModule, classifier: Classifier, title: str, metadata: Metadata, rank_info: RankInfo
) -> Logger | None:
    """Write down settings and split, show the network, and start the logger."""
    settings = run.settings
    save_settings(settings, folder / "config.yaml")
    save_split(data.split, data.files, folder / "split")
    save_skipped(data.image_set.skipped, folder / "split")
    dashboard = Dashboard(
        everything=settings.logger.panels == "all",
        every_n_epochs=picture_interval(settings),
        last_epoch=settings.trainer.max_epochs,
    )
    logger = build_logger(settings.logger, folder, flat(settings) | metadata, dashboard)
    print_layer_table(classifier.network, data.image_size, f"{title}: {len(data.class_names)} classes")
    if rank_info.world_size > 1:
        own = data.per_process_batch_size(rank_info.world_size)
        print(f"{rank_info.world_size} processes, each with {own} of a step's {settings.data.batch_size} images")
    return logger
