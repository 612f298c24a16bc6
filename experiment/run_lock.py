"""One process at a time writes to a run's folder, and notices when it is moved or deleted."""

import errno
import os
from pathlib import Path

from filelock import FileLock, Timeout
from lightning import Callback, LightningModule, Trainer

from configs import SettingsError

LOCK_FILE = ".lock"
PATIENCE = 10  # seconds: the loading processes of a training that was killed hold the lock until they notice


def lock_folder(folder: Path, patience: float = PATIENCE) -> FileLock:
    """Take the lock of a run's folder; the system releases it when the process ends, however it ends.

    Raises:
        SettingsError: another process writes to the folder.
        OSError: the folder can't be written.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        raise SettingsError(f"{folder}: another process trains in this folder; wait for its end, or stop it") from None
    return lock


class FolderGuard(Callback):
    """A callback that ends a training whose folder was moved or deleted, before anything is written to a new one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise FileNotFoundError where the folder is gone."""
        if trainer.is_global_zero and not (self.folder / LOCK_FILE).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.folder))
