"""One training in five steps: data, network, folder and logger, Trainer; then fit, test and conclude."""

import contextlib
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from configs import Settings, SettingsError
from configs.parser import flat, plain, save_settings
from datamodules.datamodule import MEAN, STD, ImageDataModule
from datamodules.registry import build_datamodule
from datamodules.splits import is_saved_split, save_split
from experiment.checkpoint_io import AtomicCheckpointIO, checkpoint_callbacks
from experiment.confusion import save_confusion
from experiment.csv_recorder import CSVRecorder, write_rows
from experiment.distributed import (
    RankInfo,
    TerminateWorkers,
    TrainerOptions,
    install_signal_handlers,
    requeue_job,
    trainer_options,
)
from experiment.divergence import DivergedError, StopOnDivergence
from experiment.hardware import choose_precision, configure_malloc
from experiment.loggers import build_logger, finish_logger, quiet_lightning
from experiment.resume import check_checkpoint, describe_changes
from experiment.run_folder import ERROR_FILE, Run, exit_code_for_agent, new_folder, resume_hint
from experiment.run_lock import FolderGuard, lock_folder
from experiment.summary import Metadata, code_version, format_summary, summary, write_summary
from experiment.visualization import build_probes, visualization_callbacks
from lightning_modules.classifier import Classifier
from lightning_modules.filter_clipping import FilterClipping
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from lightning_modules.networks.summary import print_layer_table
from lightning_modules.pretrained import load_weights
from lightning_modules.weight_standardization import are_standardized, conv_weights
from viz_callbacks.callbacks import Probes


def train(run: Run) -> int:
    """Train, test and conclude a run.

    Returns:
        The exit status: 0 done, 1 diverged or short of disk or memory, 130 interrupted; 0 of the processes that assist.

    Raises:
        SettingsError: the data can't be had, the devices can't, or the settings don't fit them; nothing is left behind.
    """
    started, settings = time.monotonic(), run.settings
    install_signal_handlers()
    quiet_lightning()
    configure_malloc()
    options, rank_info = trainer_options(settings, choose_precision(settings.trainer.precision))
    check_image_sizes(settings)

    data, probes = prepare_data(settings, rank_info.world_size)
    classifier = build_classifier(settings, data, options["precision"], starts=run.checkpoint is None)
    if run.checkpoint:
        folder = run.checkpoint.parent.parent
        refuse_other_images(data, folder)
        callbacks = build_callbacks(settings, data, probes, folder, CSVRecorder(folder, ""))
        epochs = check_checkpoint(run.checkpoint, settings, options["precision"], classifier, data.class_names, callbacks)
        if rank_info.is_global_zero:
            print(describe_changes(run.changes, epochs))
    output = None
    try:
        output = open_output(run, data, classifier, options, rank_info)
        trainer = build_trainer(settings, data, probes, options, output)
        divergence = fit_and_test(trainer, classifier, data, run.checkpoint)
        if not rank_info.is_global_zero:
            return 0  # Lightning would take any other for a crash of this process
        return conclude(output, trainer, classifier, data, divergence, time.monotonic() - started)
    except SystemExit:  # Lightning's answer to Ctrl-C
        return report_interruption(output)
    except (OSError, torch.OutOfMemoryError) as problem:  # such as a full disk
        return report_shortage(run, output, problem)
    except RuntimeError as problem:
        if not str(problem).startswith("DataLoader worker"):  # torch has no type of its own for one that was killed
            raise
        return report_shortage(run, output, problem)


def fit_and_test(trainer: Trainer, classifier: Classifier, data: ImageDataModule, checkpoint: Path | None) -> str | None:
    """Train, from a checkpoint where there is one, and test. Returns how the training diverged; None if it didn't."""
    try:
        trainer.fit(classifier, data, ckpt_path=checkpoint, weights_only=True)
        trainer.test(classifier, data, verbose=False)
    except DivergedError as stop:
        return str(stop)
    return None


def check_image_sizes(settings: Settings) -> None:
    """Raise SettingsError where the network's layers leave nothing of the images, before these are read.

    A network without values computes the shapes alone.
    """
    sizes = {image_size(settings), *settings.data.train_sizes}
    with torch.device("meta"), torch.no_grad():
        network = build_network(settings.model, 2).eval()
        for size in sorted(sizes):
            try:
                network(torch.empty(1, 3, size, size))
            except RuntimeError as problem:
                raise SettingsError(
                    f"model.conv1_size={settings.model.conv1_size} model.conv1_stride={settings.model.conv1_stride}: "
                    f"images of {size} pixels are too small for these layers; enlarge data.image_size and data.train_sizes"
                ) from problem


def prepare_data(settings: Settings, processes: int) -> tuple[ImageDataModule, Probes]:
    """Read and split the data set, and find the probes in it.

    Raises:
        SettingsError: the data can't be had or split, a batch can't be shared by so many processes, a probe isn't there.
    """
    data = build_datamodule(settings.data, image_size(settings), settings.seed)
    data.prepare_data()
    data.setup("fit")
    data.per_process_batch_size(processes)
    return data, build_probes(data, settings.viz.probes)


def image_size(settings: Settings) -> int:
    """Return the side of the network's square input in pixels."""
    return settings.data.image_size or IMAGE_SIZES[settings.model.name]


def refuse_other_images(data: ImageDataModule, folder: Path) -> None:
    """Raise SettingsError if the parts of the data aren't those that the run in this folder began with."""
    if not is_saved_split(data.split, data.files, folder / "split"):
        raise SettingsError(
            f"{data.title} has other images than when the run began, or in other parts ({folder / 'split'}): "
            "bring them back, or start a new run without resume="
        )


def build_classifier(settings: Settings, data: ImageDataModule, precision: str, starts: bool) -> Classifier:
    """Build the network and what trains it.

    Weights are drawn by ``settings.seed``, or come from ``model.weights`` where the run ``starts``; a resumed one has its own.

    Raises:
        SettingsError: as ``load_weights`` does.
    """
    seed_everything(settings.seed, verbose=False)
    network = build_network(settings.model, len(data.class_names)).to(memory_format=torch.channels_last)
    if settings.model.weights and starts:
        rank_zero_only(print)(load_weights(network, settings.model, data.class_names, MEAN, STD))
        if settings.optim.name == "adamw" and settings.optim.filter_rate and not are_standardized(conv_weights(network)):
            raise SettingsError(
                f"model.weights={settings.model.weights}: its filters have means or norms that optim.filter_rate would change; "
                "add recipe=finetune"
            )
    return Classifier(
        network,
        len(data.class_names),
        settings.optim,
        data.steps_per_epoch,
        settings.seed,
        crop_size=image_size(settings) if settings.data.test_crops else None,
        checkpoint_metadata={"settings": plain(settings), "class_names": data.class_names, "precision": precision},
    )


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
        "input_size": image_size(settings),
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
    print_layer_table(classifier.network, image_size(settings), f"{title}: {len(data.class_names)} classes")
    if rank_info.world_size > 1:
        own = data.per_process_batch_size(rank_info.world_size)
        print(f"{rank_info.world_size} processes, each with {own} of a step's {settings.data.batch_size} images")
    return build_logger(settings.logger, folder, flat(settings) | metadata)


def build_trainer(
    settings: Settings, data: ImageDataModule, probes: Probes, options: TrainerOptions, output: Output
) -> Trainer:
    """Build the Trainer with all callbacks of a run."""
    bar = settings.trainer.progress_bar and sys.stdout.isatty()  # elsewhere each epoch's line is enough
    callbacks = build_callbacks(settings, data, probes, output.folder, output.recorder)
    return Trainer(
        **options,
        max_epochs=settings.trainer.max_epochs,
        gradient_clip_val=settings.optim.clip or None,
        logger=output.logger or False,
        callbacks=[*([RichProgressBar(leave=False)] if bar else []), *callbacks],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=output.folder,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the datamodule gives each device its share
        enable_progress_bar=bar,
        enable_model_summary=False,
        sync_batchnorm=True,  # statistics of the whole batch, whatever the number of devices
        benchmark=True,
    )


def build_callbacks(
    settings: Settings, data: ImageDataModule, probes: Probes, folder: Path, recorder: CSVRecorder
) -> list[Callback]:
    """Build the callbacks of a run in this folder, in the order in which Lightning calls them."""
    radius, max_epochs = settings.optim.filter_radius, settings.trainer.max_epochs
    return [
        StopOnDivergence(len(data.class_names)),
        FolderGuard(folder),  # before anything is written
        *([FilterClipping(radius, data.grey_levels_per_unit)] if radius else []),
        *visualization_callbacks(settings.viz, data, probes, folder / "pictures", max_epochs),
        recorder,  # after the pictures: it commits the row that they joined
        *checkpoint_callbacks(folder / "checkpoints", has_validation=len(data.split.val) > 0),
        TerminateWorkers(),
    ]


def conclude(
    output: Output, trainer: Trainer, classifier: Classifier, data: ImageDataModule, divergence: str | None, seconds: float
) -> int:
    """Write summary and confusion matrix, close the logger, say what came out. Returns the exit status.

    Args:
        output: of the run.
        trainer: after fit and test, or after the training diverged.
        classifier: with the confusion matrix of the test, unless the training diverged.
        data: for the no-content baseline and the names of the classes.
        divergence: how the training diverged; None if it didn't.
        seconds: since this process began to work.
    """
    recorder = output.recorder
    final = {} if divergence else {name: value.item() for name, value in trainer.callback_metrics.items()}
    figures = summary(
        recorder.rows, final, data.no_content_floor(), divergence, recorder.seconds_before + seconds, output.metadata
    )
    write_rows(recorder.rows, output.folder / "metrics.csv")  # which a full disk may have kept from being written
    write_summary(figures, output.folder / "summary.json")
    if divergence is None:
        save_confusion(classifier.confusion_matrix, data.class_names, output.folder, output.title)
    print(format_summary(figures, recorder.rows, output.folder, finish_logger(output.logger, figures)))
    return 0 if divergence is None else exit_code_for_agent(1)


def report_interruption(output: Output | None) -> int:
    """Close the logger of a run that was interrupted, say how to resume it. Returns the exit status."""
    if output is not None and output.rank_info.is_global_zero:
        with contextlib.suppress(OSError):  # a closed terminal can't be told
            print(f"\nInterrupted. {resume_hint(output.folder)}", flush=True)
        finish_logger(output.logger, {})
        if requeued := requeue_job():
            print(requeued)
    return exit_code_for_agent(130)


def report_shortage(run: Run, output: Output | None, problem: Exception) -> int:
    """Close the logger of a run that the system left without disk, memory or a process, say so in a line.

    Returns:
        The exit status.
    """
    hint = ""
    if output is not None:
        with contextlib.suppress(OSError):
            finish_logger(output.logger, {}, exit_code=1)
        if output.rank_info.is_global_zero and output.folder.is_dir():
            hint = f". {resume_hint(output.folder)}"
        elif output.rank_info.is_global_zero:
            hint = f". {output.folder} was moved or deleted while the training wrote to it; resume it where it is now"
    elif not run.checkpoint:
        hint = ". Nothing was left behind"
    print(f"\ntrain.py: {' '.join(str(problem).split()).rstrip('.')}{hint}", file=sys.stderr)
    return 1
