"""How a run ends: done, diverged, interrupted, or short of disk, memory or a process. Each end says what is kept."""

import contextlib
import sys

from lightning import Trainer

from configs import Settings, SettingsError
from datamodules.datamodule import ImageDataModule
from experiment.confusion import save_confusion
from experiment.csv_recorder import write_rows
from experiment.disk import keep_weights, write_weights
from experiment.distributed import requeue_job
from experiment.loggers import finish_logger
from experiment.output import Output
from experiment.page import write_final_page
from experiment.predictions import save_predictions
from experiment.run_folder import Run, exit_code_for_agent, resume_hint
from experiment.summary import format_summary, summary, verdict, write_summary
from experiment.wandb_mirror import WandbMirror
from experiment.wandb_results import Results, SeenImage, class_accuracies, confused_pairs, look_at_test_images, send_results
from lightning_modules.checkpoints import BEST
from lightning_modules.classifier import Classifier


def conclude(
    output: Output,
    trainer: Trainer,
    classifier: Classifier,
    data: ImageDataModule,
    divergence: str | None,
    seconds: float,
    settings: Settings,
) -> int:
    """Write summary, confusion matrix, predictions and page, say what came out, close the logger, keep the weights.

    The weights come last: until then an interruption leaves a run that can be resumed.

    Args:
        output: of the run.
        trainer: after fit and test, or after the training diverged.
        classifier: with the confusion matrix of the test, unless the training diverged.
        data: for the no-content baseline and the names of the classes.
        divergence: how the training diverged; None if it didn't.
        seconds: since this process began to work.
        settings: of the run.

    Returns:
        The exit status.
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
        save_predictions(classifier.image_predictions, data, output.folder)
    if settings.viz.page:
        write_final_page(output.folder)
    print(format_summary(figures, recorder.rows, output.folder), flush=True)
    if isinstance(output.logger, WandbMirror) and output.logger.failure is None:
        results = gather_results(output, classifier, data, settings) if divergence is None else None
        output.logger.log_results(lambda run: send_results(run, verdict(figures), results))
    finish_logger(output.logger, figures)
    try:
        keep_weights(output.folder, settings.trainer.keep)
    except (OSError, SettingsError) as problem:
        print(f"{problem}: the checkpoints stay as they are, optimiser's state and all", flush=True)
    return 0 if divergence is None else exit_code_for_agent(1)


def gather_results(output: Output, classifier: Classifier, data: ImageDataModule, settings: Settings) -> Results:
    """Gather what W&B gets of a tested run. Pictures of test images are among it where the run makes pictures at all."""
    images, layer = list[SeenImage](), ""
    if settings.viz.every_n_epochs:
        images, layer = look_at_test_images(classifier.network, data, classifier.image_predictions)
    weights, best = None, output.folder.absolute() / "checkpoints" / BEST
    if settings.logger.log_model != "none":
        try:
            is_best = settings.logger.log_model == "best" and best.is_file()
            weights = ("best", best) if is_best else ("last", write_weights(output.folder.absolute()))
        except (OSError, SettingsError) as problem:
            print(f"{problem}: W&B gets no weights", flush=True)
    return Results(
        class_accuracies(classifier.confusion_matrix, data.class_names),
        confused_pairs(classifier.confusion_matrix, data.class_names),
        images,
        layer,
        (settings.data.name, (output.folder / "split").absolute()),
        weights,
    )


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
        if output.rank_info.is_global_zero and output.folder.is_dir():
            hint = f". {resume_hint(output.folder)}"
        elif output.rank_info.is_global_zero:
            hint = f". {output.folder} was moved or deleted while the training wrote to it; resume it where it is now"
    elif not run.checkpoint:
        hint = ". Nothing was left behind"
    print(f"\ntrain.py: {' '.join(str(problem).split()).rstrip('.')}{hint}", file=sys.stderr)
    if output is not None:
        finish_logger(output.logger, {}, exit_code=1)
    return 1
