"""A callback that keeps the run's page, ``index.html``, up to date while the run trains."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from pages.build import write_page
from pages.run_data import read_run

FILE = "index.html"


class PageWriter(Callback):
    """Writes the page after each epoch, beside the pictures and with their addresses, which costs little.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page anew, on rank zero only."""
        if trainer.is_global_zero:
            write_page([read_run(self.folder)], self.folder / FILE, inline=False, live=True)


def write_final_page(folder: Path) -> None:
    """Write the page that holds all its pictures itself, of a run that has ended."""
    write_page([read_run(folder)], folder / FILE)
