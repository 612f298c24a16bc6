"""Train AlexNet or ZFNet and look inside at every epoch: ``python train.py model=alexnet``; ``--help`` shows every setting."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from configs import Settings, SettingsError
from configs.parser import help_text
from experiment.run_folder import new_folder, open_run


def main(arguments: list[str]) -> int:
    """Run one training. Returns the exit status: 0 done, 1 diverged or disk full, 2 a mistake in the settings, 130 interrupted.

    Under W&B's agent a run that diverged or was stopped ends with 0: the agent gives up its sweep after a few that don't.
    """
    if {"-h", "--help"} & set(arguments):
        print(help_text())
        return 0
    try:
        return train(*open_run(arguments))
    except SettingsError as mistake:
        print(f"train.py: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted outside of training; what its epochs left is kept")
        return exit_code_for_agent(130)


def exit_code_for_agent(status: int) -> int:
    """An exit status for a run that ended early but not by a fault: 0 where W&B's agent would count it as a failure."""
    return 0 if "WANDB_SWEEP_ID" in os.environ else status


def train(settings: Settings, checkpoint: Path | None) -> int:
    """Data, network, callbacks, Trainer; fit; say where everything is. Returns the exit status."""
    started = time.monotonic()
    # Imported here, since torch takes seconds: help and mistakes in the settings are answered before.
    import torch
    from lightning import Trainer, seed_everything
    from lightning.pytorch.callbacks import RichProgressBar

    from configs.parser import flat, plain, save_settings
    from datamodules.registry import build_datamodule
    from datamodules.splits import save_split
    from experiment.checkpoint_io import AtomicCheckpointIO, checkpoint_callbacks
    from experiment.confusion import save_confusion
    from experiment.csv_recorder import CSVRecorder
    from experiment.distributed import TerminateWorkers, install_signal_handlers, trainer_options
    from experiment.divergence import DivergedError, StopOnDivergence
    from experiment.hardware import best_precision, configure_malloc
    from experiment.loggers import build_logger, finish_logger, quiet_lightning
    from experiment.summary import code_version, format_summary, resume_hint, summary, write_summary
    from experiment.visualization import build_probes, visualization_callbacks
    from lightning_modules.classifier import Classifier
    from lightning_modules.filter_clipping import FilterClipping
    from lightning_modules.networks.registry import IMAGE_SIZES, build_network
    from lightning_modules.networks.summary import print_layer_table

    install_signal_handlers()
    quiet_lightning()
    configure_malloc()
    precision = best_precision() if settings.trainer.precision == "auto" else settings.trainer.precision
    devices, place = trainer_options(settings, precision)
    image_size = settings.data.image_size or IMAGE_SIZES[settings.model.name]
    command = shlex.join(["python", "train.py", *sys.argv[1:]])
    facts: dict[str, Any] = {
        "command": command, "input_size": image_size, "test_crops": settings.data.test_crops, "precision": precision,
        "processes": place.world_size, **code_version(),
    }  # fmt: skip
    data = build_datamodule(settings.data, image_size, settings.seed)
    data.prepare_data()
    data.setup("fit")
    per_process_batch_size = data.per_process_batch_size(place.world_size)
    probes = build_probes(data, settings.viz.probes)

    seed_everything(settings.seed, verbose=False)
    network = build_network(settings.model, len(data.class_names)).to(memory_format=torch.channels_last)
    crop_size = image_size if settings.data.test_crops else None
    saved = {"settings": plain(settings), "class_names": data.class_names}
    model = Classifier(network, len(data.class_names), settings.optim, data.steps_per_epoch, settings.seed, crop_size, saved)

    folder = Path(settings.runs)  # of the other processes, which write nothing
    title = f"{settings.model.name} on {data.title}"
    logger = None
    if place.is_global_zero:
        folder = checkpoint.parent.parent if checkpoint else new_folder(settings)
        save_settings(settings, folder / "config.yaml")
        save_split(data.split, data.files, folder / "split")
        print_layer_table(network, image_size, f"{title}: {len(data.class_names)} classes")
        if place.world_size > 1:
            print(
                f"{place.world_size} processes, each with {per_process_batch_size} of a step's {settings.data.batch_size} images"
            )
        logger = build_logger(settings.logger, folder, flat(settings) | facts)

    radius = settings.optim.filter_radius
    bar = settings.trainer.progress_bar and sys.stdout.isatty()  # elsewhere each epoch's line is enough
    record = CSVRecorder(folder, title)
    trainer = Trainer(
        **devices,
        max_epochs=settings.trainer.max_epochs,
        gradient_clip_val=settings.optim.clip or None,
        logger=logger or False,
        callbacks=[
            *([RichProgressBar(leave=False)] if bar else []),
            StopOnDivergence(len(data.class_names)),
            *([FilterClipping(radius, data.grey_levels_per_unit)] if radius else []),
            *visualization_callbacks(settings.viz, data, probes, folder / "pictures", settings.trainer.max_epochs),
            record,  # after the pictures: it commits the row that they joined
            *checkpoint_callbacks(folder / "checkpoints", has_validation=len(data.split.val) > 0),
            TerminateWorkers(),
        ],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the datamodule gives each device its share
        enable_progress_bar=bar,
        enable_model_summary=False,
        sync_batchnorm=True,  # statistics of the whole batch, whatever the number of devices
        benchmark=True,
    )
    diverged = None
    try:
        trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)
        trainer.test(model, data, verbose=False)
    except DivergedError as stop:
        diverged = str(stop)
    except SystemExit:  # Lightning's answer to Ctrl-C
        if place.is_global_zero:
            finish_logger(logger, {})
            print(f"\nInterrupted. {resume_hint(folder)}")
        return exit_code_for_agent(130)
    except OSError as problem:  # such as a full disk
        finish_logger(logger, {}, exit_code=1)
        print(f"\ntrain.py: {problem}" + (f". {resume_hint(folder)}" if place.is_global_zero else ""), file=sys.stderr)
        return 1
    if trainer.is_global_zero:
        final = {} if diverged else {name: value.item() for name, value in trainer.callback_metrics.items()}
        seconds = record.seconds_before + time.monotonic() - started
        figures = summary(record.rows, final, data.no_content_floor(), diverged, seconds, facts)
        write_summary(figures, folder / "summary.json")
        if not diverged:
            save_confusion(model.confusion_matrix, data.class_names, folder, title)
        print(format_summary(figures, record.rows, folder, finish_logger(logger, figures)))
        return exit_code_for_agent(1) if diverged else 0
    return 0  # of the other processes: Lightning would take any other for a crash


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
