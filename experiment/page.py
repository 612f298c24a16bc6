"""The run's page, ``index.html``: kept up to date while the run trains, and written whole at its end."""

import json
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from PIL import Image

from configs.files import atomic_write_text
from pages.build import write_page
from pages.run_data import read_run
from viz_callbacks.callbacks import Probes
from viz_callbacks.callbacks.picture_folder import save_whole

FILE = "index.html"


class PageWriter(Callback):
    """Writes the page after each epoch, beside the pictures and with their addresses, which costs little.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._warned = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page anew, on rank zero only. One that can't be written is one warning."""
        if not trainer.is_global_zero:
            return
        try:
            write_page([read_run(self.folder)], self.folder / FILE, inline=False, live=True)
        except OSError as problem:
            if not self._warned:
                print(f"{problem}: the page stays as it is; python page.py {self.folder} writes it anew", flush=True)
            self._warned = True


def write_final_page(folder: Path) -> None:
    """Write the page that holds all its pictures itself, of a run that has ended. One that can't be written is one warning."""
    try:
        write_page([read_run(folder)], folder / FILE)
    except OSError as problem:
        print(f"{problem}: the page stays as it is; python page.py {folder} writes it anew", flush=True)


def save_probes(probes: Probes, folder: Path) -> None:
    """Write the probes as people see them, ``PROBE.webp``, and ``index.json`` with name, class and part of each."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, name in enumerate(probes.names):
        place = probes.folder(number)
        save_whole(Image.fromarray(probes.original(number)), folder / f"{place}.webp", quality=80)
        target = int(probes.targets[number])
        true_class = probes.class_names[target] if target >= 0 else ""
        entries.append({"place": place, "name": name, "class": true_class, "part": probes.notes[number]})
    atomic_write_text(folder / "index.json", json.dumps(entries, indent=1))
