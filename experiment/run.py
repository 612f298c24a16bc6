"""One training in five steps: data, network, folder and logger, Trainer; then fit, test and conclude."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger

from configs import Settings
from configs.parser import flat, plain, save_settings
from datamodules.datamodule import ImageDataModule
from datamodules.registry import build_datamodule
from datamodules.splits import save_split
from experiment.checkpoint_io import AtomicCheckpointIO, checkpoint_callbacks
from experiment.confusion import save_confusion
from experiment.csv_recorder import CSVRecorder
from experiment.distributed import RankInfo, TerminateWorkers, TrainerOptions, install_signal_handlers, trainer_options
from experiment.divergence import DivergedError, StopOnDivergence
from experiment.hardware import choose_precision, configure_malloc
from experiment.loggers import build_logger, finish_logger, quiet_lightning
from experiment.page import PageWriter, write_final_page
from experiment.predictions import save_predictions
from experiment.run_folder import ERROR_FILE, Run, exit_code_for_agent, new_folder, resume_hint
from experiment.summary import Metadata, code_version, format_summary, summary, write_summary
from experiment.visualization import build_probes, save_probes, visualization_callbacks
from lightning_modules.classifier import Classifier
from lightning_modules.filter_clipping import FilterClipping
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from lightning_modules.networks.summary import print_layer_table
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

    data, probes = prepare_data(settings, rank_info.world_size)
    classifier = build_classifier(settings, data)
    output = open_output(run, data, classifier, options, rank_info)
    trainer = build_trainer(settings, data, probes, options, output)
    divergence = None
    try:
        trainer.fit(classifier, data, ckpt_path=run.checkpoint, weights_only=True)
        trainer.test(classifier, data, verbose=False)
    except DivergedError as stop:
        divergence = str(stop)
    except SystemExit:  # Lightning's answer to Ctrl-C
        return report_interruption(output)
    except (OSError, torch.OutOfMemoryError) as problem:  # such as a full disk
        return report_shortage(output, problem)
    if output.rank_info.is_global_zero:
        seconds = time.monotonic() - started
        return conclude(output, trainer, classifier, data, divergence, seconds, settings.viz.page)
    return 0  # Lightning would take any other for a crash of this process


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


def build_classifier(settings: Settings, data: ImageDataModule) -> Classifier:
    """Build the network, its weights drawn by ``settings.seed``, and what trains it."""
    seed_everything(settings.seed, verbose=False)
    network = build_network(settings.model, len(data.class_names)).to(memory_format=torch.channels_last)
    return Classifier(
        network,
        len(data.class_names),
        settings.optim,
        data.steps_per_epoch,
        settings.seed,
        crop_size=image_size(settings) if settings.data.test_crops else None,
        checkpoint_metadata={"settings": plain(settings), "class_names": data.class_names},
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
        return Output(rank_info, unwritten, title, CSVRecorder(unwritten, title), None, metadata)
    folder = run.folder = run.checkpoint.parent.parent if run.checkpoint else new_folder(settings)
    (folder / ERROR_FILE).unlink(missing_ok=True)  # of a fault before this run was resumed
    save_settings(settings, folder / "config.yaml")
    save_split(data.split, data.files, folder / "split")
    print_layer_table(classifier.network, image_size(settings), f"{title}: {len(data.class_names)} classes")
    if rank_info.world_size > 1:
        own = data.per_process_batch_size(rank_info.world_size)
        print(f"{rank_info.world_size} processes, each with {own} of a step's {settings.data.batch_size} images")
    logger = build_logger(settings.logger, folder, flat(settings) | metadata)
    return Output(rank_info, folder, title, CSVRecorder(folder, title), logger, metadata)


def build_trainer(
    settings: Settings, data: ImageDataModule, probes: Probes, options: TrainerOptions, output: Output
) -> Trainer:
    """Build the Trainer with all callbacks of a run."""
    if output.rank_info.is_global_zero:
        save_probes(probes, output.folder / "pictures/probes")
    radius, max_epochs = settings.optim.filter_radius, settings.trainer.max_epochs
    bar = settings.trainer.progress_bar and sys.stdout.isatty()  # elsewhere each epoch's line is enough
    callbacks: list[Callback] = [
        *([RichProgressBar(leave=False)] if bar else []),
        StopOnDivergence(len(data.class_names)),
        *([FilterClipping(radius, data.grey_levels_per_unit)] if radius else []),
        *visualization_callbacks(settings.viz, data, probes, output.folder / "pictures", max_epochs),
        output.recorder,  # after the pictures: it commits the row that they joined
        *([PageWriter(output.folder)] if settings.viz.page else []),
        *checkpoint_callbacks(output.folder / "checkpoints", has_validation=len(data.split.val) > 0),
        TerminateWorkers(),
    ]
    return Trainer(
        **options,
        max_epochs=max_epochs,
        gradient_clip_val=settings.optim.clip or None,
        logger=output.logger or False,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=output.folder,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the datamodule gives each device its share
        enable_progress_bar=bar,
        enable_model_summary=False,
        sync_batchnorm=True,  # statistics of the whole batch, whatever the number of devices
        benchmark=True,
    )


def conclude(
    output: Output,
    trainer: Trainer,
    classifier: Classifier,
    data: ImageDataModule,
    divergence: str | None,
    seconds: float,
    page: bool,
) -> int:
    """Write summary, confusion matrix, predictions and page, close the logger, say what came out. Returns the exit status.

    Args:
        output: of the run.
        trainer: after fit and test, or after the training diverged.
        classifier: with the confusion matrix of the test, unless the training diverged.
        data: for the no-content baseline and the names of the classes.
        divergence: how the training diverged; None if it didn't.
        seconds: since this process began to work.
        page: write the run's page.
    """
    recorder = output.recorder
    final = {} if divergence else {name: value.item() for name, value in trainer.callback_metrics.items()}
    figures = summary(
        recorder.rows, final, data.no_content_floor(), divergence, recorder.seconds_before + seconds, output.metadata
    )
    write_summary(figures, output.folder / "summary.json")
    if divergence is None:
        save_confusion(classifier.confusion_matrix, data.class_names, output.folder, output.title)
        save_predictions(classifier.image_predictions, data, output.folder)
    if page:
        write_final_page(output.folder)
    print(format_summary(figures, recorder.rows, output.folder, finish_logger(output.logger, figures)))
    return 0 if divergence is None else exit_code_for_agent(1)


def report_interruption(output: Output) -> int:
    """Close the logger of a run that was interrupted, say how to resume it. Returns the exit status."""
    if output.rank_info.is_global_zero:
        finish_logger(output.logger, {})
        print(f"\nInterrupted. {resume_hint(output.folder)}")
    return exit_code_for_agent(130)


def report_shortage(output: Output, problem: Exception) -> int:
    """Close the logger of a run that the system left without disk or memory, say so in a line. Returns the exit status."""
    finish_logger(output.logger, {}, exit_code=1)
    hint = f". {resume_hint(output.folder)}" if output.rank_info.is_global_zero else ""
    print(f"\ntrain.py: {str(problem).splitlines()[0]}{hint}", file=sys.stderr)
    return 1
