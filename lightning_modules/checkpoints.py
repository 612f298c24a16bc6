"""Reading checkpoints, without running code from the file, and the trained networks in them."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs import ModelSettings, SettingsError
from lightning_modules.networks.registry import build_network

DAMAGED = (
    pickle.UnpicklingError, struct.error, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError,
    AssertionError, MemoryError, OverflowError, zipfile.BadZipFile, NotImplementedError,
)  # fmt: skip
"""What ``torch.load`` raises for files that are cut short, changed or of another kind: it has no error of its own for them."""


LAST, WEIGHTS, BEST = "last.ckpt", "weights.ckpt", "best.ckpt"
"""In a run's folder ``checkpoints``: the last epoch with all that resuming needs, which is there until the run has ended; the
weights of the last epoch, which then stay; the weights of the epoch that is best on the validation images."""


def weights_file(path: Path) -> Path:
    """Return the file of weights that a path means: of a run's folder those of the last epoch, else of the best.

    Raises:
        SettingsError: the run has no weights.
    """
    if not path.is_dir():
        return path
    for name in (LAST, WEIGHTS, BEST):
        if (file := path / "checkpoints" / name).is_file():
            return file
    raise SettingsError(f"{path} has no weights: no epoch had ended, or they were not kept (trainer.keep)")


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Read the checkpoint in a file, its tensors in main memory.

    Each record in the file has a checksum, CRC-32, which ``torch.save`` writes and ``torch.load`` doesn't compare: here it is.

    Args:
        path: of the file.
        mmap: leave the tensors on disk until they are looked at; the file must stay as it is.

    Raises:
        SettingsError: the file is missing, can't be read, is damaged or holds more than tensors and plain values.
    """
    try:
        _compare_checksums(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as problem:
        others = sorted(file.name for file in path.parent.glob("*.ckpt"))
        hint = f"; there is {' and '.join(others)}" if others else ""
        raise SettingsError(f"{path}: there is no such checkpoint{hint}") from problem
    except OSError as problem:
        raise SettingsError(f"{path} can't be read: {problem.strerror}") from problem
    except DAMAGED as problem:
        raise SettingsError(f"{path} is not a readable checkpoint ({type(problem).__name__}); use another one") from problem
    if not isinstance(checkpoint, dict):
        raise SettingsError(f"{path} holds a {type(checkpoint).__name__}, so it is no checkpoint of this project")
    return checkpoint


def network_in(checkpoint: dict[str, Any], path: Path) -> tuple[ModelSettings, dict[str, Tensor], list[str]]:
    """Return the settings of the network in a run's checkpoint, its weights by name and the names of its classes.

    Raises:
        SettingsError: it is not a checkpoint of this project; ``path`` is named.
    """
    try:
        class_names = [str(name) for name in checkpoint["class_names"]]
        model = ModelSettings(**checkpoint["settings"]["model"])
        prefix = "network."  # beside it older runs have an auxiliary classifier, which only the training needed
        weights = {
            name.removeprefix(prefix): each for name, each in checkpoint["state_dict"].items() if name.startswith(prefix)
        }
    except (KeyError, TypeError) as problem:
        raise SettingsError(f"{path} holds no network of this project: {str(problem).splitlines()[0]}") from problem
    return model, weights, class_names


def _compare_checksums(path: Path) -> None:
    """Raise ValueError where the file isn't as ``torch.save`` wrote it."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if sum(record.file_size for record in records) > size or any(record.compress_type for record in records):
            raise ValueError("its records are compressed")  # torch never does, and what they unpack to has no limit
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")


def load_network(path: str | Path) -> tuple[nn.Sequential, list[str]]:
    """Load a trained network, in evaluation mode, and the names of its classes.

    Args:
        path: of a run's folder, as for ``weights_file``, or of a checkpoint.

    Raises:
        SettingsError: the file is missing, damaged or not a checkpoint of this project.
    """
    path = weights_file(Path(path))
    model, weights, class_names = network_in(read_checkpoint(path), path)
    network = build_network(model, len(class_names))
    try:
        network.load_state_dict(weights)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as problem:
        raise SettingsError(f"{path} holds no network of this project: {str(problem).splitlines()[0]}") from problem
    return network.eval(), class_names
