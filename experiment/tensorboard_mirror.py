"""TensorBoard as a mirror of a run, which can't stop a training: Lightning's logger, in the run's folder.

The step of rows and pictures is the epoch, from 1. What belongs to an epoch is on the disk before the epoch's checkpoint is, so
a resumed run goes on in the same folder: from its first row on TensorBoard hides what an earlier start has written.

What is looked at has W&B's names, beside those of the columns: TensorBoard sorts by name too, so ``accuracy/`` comes first.
"""

import functools
import importlib.util
import threading
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from PIL import Image

from configs import SettingsError
from configs.files import atomic_write_text
from experiment.dashboard import PANELS, picture_panel

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

LAST_EPOCH = "last-epoch"
"""A file beside TensorBoard's own: the last epoch that they hold."""


def check_tensorboard() -> None:
    """Raise SettingsError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise SettingsError("logger=tensorboard: TensorBoard is not installed; pip install -e '.[tensorboard]'")


class TensorBoardMirror(Logger):
    """A logger that hands everything to TensorBoard until a call fails, which one line says.

    Args:
        run: the run's folder.
        settings: of the run, by dotted key.
    """

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.run = run
        self.folder = run / "tensorboard"
        self.failure: str | None = None
        self._settings = dict(settings)
        self._pictures: dict[str, Path] = {}
        self._logger: TensorBoardLogger | None = None

    @property
    def name(self) -> str:
        """Of the kind of logger."""
        return "tensorboard"

    @property
    def version(self) -> str | None:
        """None: a run's folder holds one."""
        return None

    @property
    def last_epoch(self) -> int:
        """The last epoch that TensorBoard's files hold; 0 for none."""
        try:
            return int((self.folder / LAST_EPOCH).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *arguments: Any, **options: Any) -> None:
        """Do nothing: the settings are shown beside the final figures."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write a row of figures, and with it the pictures since the row before."""
        row, pictures = {**metrics, **{PANELS[name]: metrics[name] for name in PANELS if name in metrics}}, self._pictures
        self._pictures = {}
        before = self.failure
        self._attempt(lambda: self._write(int(metrics["epoch"]), row, pictures))
        if self.failure and not before:
            off = f"TensorBoard is off for the rest of this run ({self.failure})"
            print(f"{off}. The run's own record goes on in {self.run}", flush=True)

    def log_pictures(self, files: Mapping[str, tuple[Path, str]], values: Mapping[str, float]) -> None:
        """Keep pictures, each a file with its caption, for the next row. Of values the folder's indices have them all."""
        self._pictures |= {picture_panel(key) or key: file for key, (file, _) in files.items()}

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the final figures beside the settings, close the files and say how to look at them."""
        final = {name: value for name, value in summary.items() if name.startswith("final/")}
        self._attempt(lambda: self._close(final))
        if self.failure:
            print(f"TensorBoard has only a part of this run ({self.failure}); all of it is in {self.run}", flush=True)
        else:
            print(f"TensorBoard: tensorboard --samples_per_plugin images=100 --logdir {self.folder}", flush=True)

    def _attempt(self, call: Callable[[], object]) -> None:
        if self.failure:
            return
        try:
            call()
        except Exception as problem:  # TensorBoard promises no type; a full disk is an OSError, or Lightning's ValueError
            first = problem.__cause__ or problem
            self.failure = f"{type(first).__name__}: {' '.join(str(first).split())}"

    def _write(self, epoch: int, row: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        if self._logger is None:
            threading.excepthook = functools.partial(_report_unless_writers, threading.excepthook)
            self._logger = _InOneFolder(self.folder, name="", version="", default_hp_metric=False, purge_step=epoch)
        self._logger.log_metrics(row, epoch)
        for key, file in pictures.items():
            self._logger.experiment.file_writer.add_summary(_image_summary(key, file), epoch)
        self._logger.experiment.flush()
        atomic_write_text(self.folder / LAST_EPOCH, str(epoch))

    def _close(self, final: dict[str, Any]) -> None:
        if self._logger is None:
            return
        if final:
            self._logger.log_hyperparams(self._settings, final, self.last_epoch)
        self._logger.experiment.close()


class _InOneFolder(TensorBoardLogger):
    """Lightning's logger, which fills in what looks like an environment's variable in its folder's path; this one doesn't."""

    @property
    def log_dir(self) -> str:
        """The folder of TensorBoard's files."""
        return self.save_dir


def _image_summary(key: str, file: Path) -> "Summary":
    """Return what TensorBoard writes for a picture: its file's bytes as they are, a third of the PNG that it would make."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # here, as it may not be installed

    with Image.open(file) as picture:
        width, height = picture.size
    image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=file.read_bytes())
    return Summary(value=[Summary.Value(tag=key, image=image)])


def _report_unless_writers(
    report: Callable[[threading.ExceptHookArgs], object], arguments: threading.ExceptHookArgs, /
) -> None:
    """Report what ended a thread, but not TensorBoard's writer, which hands it to the thread that writes next."""
    if not type(arguments.thread).__module__.startswith("tensorboard."):
        report(arguments)
