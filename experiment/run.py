"""One training in five steps: data, network, folder and logger, Trainer; then fit, test and conclude."""

import sys
import time
from pathlib import Path

import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_only

from configs import Settings, SettingsError
from configs.parser import plain
from datamodules.datamodule import MEAN, STD, ImageDataModule
from datamodules.registry import build_datamodule
from datamodules.splits import is_saved_split
from experiment.checkpoint_io import AtomicCheckpointIO, checkpoint_callbacks
from experiment.conclusion import conclude, report_interruption, report_shortage
from experiment.csv_recorder import CSVRecorder
from experiment.disk import check_disk, checkpoint_sizes
from experiment.distributed import TerminateWorkers, TrainerOptions, install_signal_handlers, trainer_options
from experiment.divergence import DivergedError, StopOnDivergence
from experiment.hardware import choose_precision, configure_malloc
from experiment.histograms import HistogramLogger
from experiment.loggers import check_logger, quiet_lightning
from experiment.output import Output, open_output
from experiment.page import PageWriter, save_probes
from experiment.resume import check_checkpoint, describe_changes
from experiment.run_folder import Run
from experiment.run_lock import FolderGuard
from experiment.visualization import build_probes, visualization_callbacks
from lightning_modules.classifier import Classifier
from lightning_modules.filter_centering import are_centered, conv_weights
from lightning_modules.filter_clipping import FilterClipping
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from lightning_modules.pretrained import load_weights
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
    if rank_info.is_global_zero:
        check_logger(settings.logger)

    epochs = 0  # that the run has behind it
    data, probes = prepare_data(settings, rank_info.world_size)
    classifier = build_classifier(settings, data, options["precision"], starts=run.checkpoint is None)
    if run.checkpoint:
        folder = run.checkpoint.parent.parent
        refuse_other_images(data, folder)
        callbacks = build_callbacks(settings, data, probes, folder, CSVRecorder(folder, ""))
        epochs = check_checkpoint(run.checkpoint, settings, options["precision"], classifier, data.class_names, callbacks)
        if rank_info.is_global_zero:
            print(describe_changes(run.changes, epochs))
    disk = ""
    if rank_info.is_global_zero and epochs < settings.trainer.max_epochs:
        sizes = checkpoint_sizes(classifier, settings.optim, options["precision"])
        disk = check_disk(settings, sizes, len(data.split.val) > 0, run.checkpoint.parent.parent if run.checkpoint else None)
    output = None
    try:
        output = open_output(run, data, classifier, options, rank_info)
        if disk:
            print(disk)
        trainer = build_trainer(settings, data, probes, options, output)
        divergence = fit_and_test(trainer, classifier, data, run.checkpoint)
        if not rank_info.is_global_zero:
            return 0  # Lightning would take any other for a crash of this process
        return conclude(output, trainer, classifier, data, divergence, time.monotonic() - started, settings)
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
        SettingsError: the data can't be had or split, a batch can't be shared by so many processes, a probe isn't there, or
            there is nothing by which the best epoch could be told.
    """
    data = build_datamodule(settings.data, image_size(settings), settings.seed)
    data.prepare_data()
    data.setup("fit")
    data.per_process_batch_size(processes)
    if settings.trainer.keep == "best" and not len(data.split.val):
        raise SettingsError("trainer.keep=best: no validation images say which epoch is best; take trainer.keep=last")
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
        if settings.optim.name == "adamw" and settings.optim.filter_rate and not are_centered(conv_weights(network)):
            raise SettingsError(
                f"model.weights={settings.model.weights}: its filters have means, which optim.filter_rate would take away; "
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


def build_trainer(
    settings: Settings, data: ImageDataModule, probes: Probes, options: TrainerOptions, output: Output
) -> Trainer:
    """Build the Trainer with all callbacks of a run."""
    if output.rank_info.is_global_zero:
        save_probes(probes, output.folder / "pictures/probes")
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
        *([HistogramLogger()] if settings.logger.watch else []),
        recorder,  # after the pictures: its row takes them to the logger
        *([PageWriter(folder)] if settings.viz.page else []),
        *checkpoint_callbacks(folder / "checkpoints", has_validation=len(data.split.val) > 0),
        TerminateWorkers(),
    ]
