"""Train AlexNet or ZFNet and look inside at every epoch: ``python train.py model=alexnet``; ``--help`` shows every setting."""

import os
import shlex
import sys
import time
from pathlib import Path

from configs import Settings, SettingsError
from configs.command_line import help_text
from configs.run_folder import new_folder, open_run


def main(arguments: list[str]) -> int:
    """Run one training. Returns the exit status: 0 done, 1 diverged, 2 a mistake in the settings, 130 interrupted.

    Under W&B's agent a diverged run ends with 0: the agent would give up its sweep after a few that don't.
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
        print("\nInterrupted before training began: there is nothing to go on from")
        return 130


def train(settings: Settings, checkpoint: Path | None) -> int:
    """Data, network, callbacks, Trainer; fit; say where everything is. Returns the exit status."""
    started = time.monotonic()
    # Imported here, since torch takes seconds: help and mistakes in the settings are answered before.
    import torch
    from lightning import Trainer, seed_everything
    from lightning.pytorch.callbacks import RichProgressBar
    from lightning.pytorch.utilities import rank_zero_only

    from configs.command_line import flat, plain, save_settings
    from datamodules import build_datamodule, save_split
    from lightning_modules import Classifier, build_network
    from lightning_modules.checkpoints import WholeCheckpointIO, checkpoint_callbacks
    from lightning_modules.confusion import save_confusion
    from lightning_modules.filter_clipping import FilterClipping
    from lightning_modules.layer_table import print_layer_table
    from lightning_modules.loggers import build_logger, finish_logger, quiet_lightning
    from lightning_modules.machine import best_precision, keep_freed_memory
    from lightning_modules.networks import IMAGE_SIZES
    from lightning_modules.record import DivergedError, RunRecord, StopOnDivergence
    from lightning_modules.report import code_version, final_words, summary, write_summary
    from looking import looks, probes_of

    quiet_lightning()
    keep_freed_memory()
    precision = best_precision() if settings.trainer.precision == "auto" else settings.trainer.precision
    image_size = settings.data.image_size or IMAGE_SIZES[settings.model.name]
    command = shlex.join(["python", "train.py", *sys.argv[1:]])
    facts = {"command": command, "input_size": image_size, "test_crops": settings.data.test_crops, "computed_in": precision}
    facts |= code_version()
    data = build_datamodule(settings.data, image_size, settings.seed)
    data.prepare_data()
    data.setup("fit")
    probes = probes_of(data, settings.viz.probes)

    seed_everything(settings.seed, verbose=False)
    network = build_network(settings.model, len(data.class_names)).to(memory_format=torch.channels_last)
    crop_size = image_size if settings.data.test_crops else None
    saved = {"settings": plain(settings), "class_names": data.class_names}
    model = Classifier(network, len(data.class_names), settings.optim, data.steps_per_epoch, settings.seed, crop_size, saved)

    folder = checkpoint.parent.parent if checkpoint else new_folder(settings)
    title = f"{settings.model.name} on {data.title}"
    logger = None
    if rank_zero_only.rank == 0:
        save_settings(settings, folder / "config.yaml")
        save_split(data.split, data.files, folder / "split")
        print_layer_table(network, image_size, f"{title}: {len(data.class_names)} classes")
        logger = build_logger(settings.logger, folder, flat(settings) | facts)

    radius = settings.optim.filter_radius
    bar = settings.trainer.progress_bar and sys.stdout.isatty()  # elsewhere each epoch's line is enough
    record = RunRecord(folder, title)
    trainer = Trainer(
        accelerator=settings.trainer.accelerator,
        devices=settings.trainer.devices,
        num_nodes=settings.trainer.num_nodes,
        strategy=settings.trainer.strategy,
        precision=precision,  # type: ignore[arg-type]  # Lightning checks the word
        max_epochs=settings.trainer.max_epochs,
        gradient_clip_val=settings.optim.clip or None,
        logger=logger or False,
        callbacks=[
            *([RichProgressBar(leave=False)] if bar else []),
            StopOnDivergence(len(data.class_names)),
            *([FilterClipping(radius, data.grey_levels_per_unit)] if radius else []),
            *looks(settings.viz, data, probes, folder / "pictures", settings.trainer.max_epochs),
            record,  # after the pictures: it commits the row that they joined
            *checkpoint_callbacks(folder / "checkpoints", has_validation=len(data.split.val) > 0),
        ],
        plugins=[WholeCheckpointIO()],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the datamodule gives each device its share
        enable_progress_bar=bar,
        enable_model_summary=False,
        benchmark=True,
    )
    diverged = None
    try:
        trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)
        trainer.test(model, data, verbose=False)
    except DivergedError as stop:
        diverged = str(stop)
    except SystemExit:  # Lightning's answer to Ctrl-C
        finish_logger(logger, {})
        print(f"\nInterrupted. Finished epochs are kept; go on with: python train.py resume={folder}")
        return 130
    if trainer.is_global_zero:
        final = {} if diverged else {name: value.item() for name, value in trainer.callback_metrics.items()}
        seconds = record.seconds_before + time.monotonic() - started
        figures = summary(record.rows, final, data.no_content_floor(), diverged, seconds, facts)
        write_summary(figures, folder / "summary.json")
        if not diverged:
            save_confusion(model.confusion_matrix, data.class_names, folder, title)
        print(final_words(figures, record.rows, folder, finish_logger(logger, figures)))
    return 1 if diverged and "WANDB_SWEEP_ID" not in os.environ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
