"""A run's folder as plain data. Whatever is not there yet, or never was, is named in ``missing`` and left out of the page."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from configs import SettingsError

T = TypeVar("T")
Row = dict[str, float]
Index = dict[int, dict[str, dict[str, Any]]]
"""What is there of one kind of picture: by epoch (from 1) and place (``PROBE/LAYER``), the entry of ``index.json``."""

KINDS = {
    "deconvolution": "maps and projections of the layers",
    "denet": "DeNet",
    "filters": "filters of the first layer",
    "top_activations": "strongest activations",
}


NETWORKS = {"alexnet": "AlexNet", "zfnet": "ZFNet"}
DATA = {"caltech101": "Caltech-101", "shapes": "generated shapes"}


@dataclass(frozen=True)
class Prediction:
    """What a run predicted for one test image at its end.

    Attributes:
        file: its name.
        group: images of one group show the same thing.
        true: its class.
        predicted: the class with the highest probability.
        confidence: that probability.
        probability_of_true: the true class's.
    """

    file: str
    group: str
    true: str
    predicted: str
    confidence: float
    probability_of_true: float

    @property
    def right(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.predicted == self.true


@dataclass(frozen=True)
class RunData:
    """One run.

    Attributes:
        folder: its own.
        name: of the folder.
        settings: as in ``config.yaml``, by group.
        rows: the figures of each epoch, as in ``metrics.csv``.
        summary: the final figures; empty while the run hasn't ended.
        predictions: of the test images in their order; empty where the run left none.
        probes: name, class, part and place of each.
        pictures: by kind.
        train_images: how many it was taught with; 0 where it doesn't say.
        missing: sentences on what the run did not leave.
    """

    folder: Path
    name: str
    settings: dict[str, Any]
    rows: list[Row]
    summary: dict[str, Any]
    predictions: list[Prediction]
    probes: list[dict[str, str]]
    pictures: dict[str, Index]
    train_images: int
    missing: list[str]

    @property
    def title(self) -> str:
        """Network and data set."""
        return f"{self.network} on {self.data}"

    @property
    def network(self) -> str:
        """The network's name, as its paper writes it."""
        name: str = self.settings["model"]["name"]
        return NETWORKS.get(name, name)

    @property
    def data(self) -> str:
        """The data set's name, as people write it."""
        name: str = self.settings["data"]["name"]
        return DATA.get(name, name)

    @property
    def max_epochs(self) -> int:
        """How many epochs the run was asked for."""
        return int(self.settings["trainer"]["max_epochs"])

    @property
    def diverged(self) -> bool:
        """Whether the training went astray."""
        return bool(self.summary.get("diverged"))

    @property
    def best_epoch(self) -> int | None:
        """The epoch that is best on the validation images; None without validation."""
        measured = [row for row in self.rows if "val/accuracy" in row]
        return int(max(measured, key=lambda row: row["val/accuracy"])["epoch"]) if measured else None


def read_run(folder: Path) -> RunData:
    """Read what a run has left so far.

    Raises:
        SettingsError: the folder is no run's, or its settings or figures are damaged.
    """
    settings = _read_settings(folder)
    rows = read_rows(folder / "metrics.csv")
    summary: dict[str, Any] = _read_json(folder / "summary.json", {})
    predictions = _read_predictions(folder / "predictions.csv")
    pictures = {kind: _read_index(folder / "pictures" / kind) for kind in KINDS}
    missing = [f"no {words}" for kind, words in KINDS.items() if not pictures[kind]]
    if not rows:
        missing.append("no epoch had ended")
    if not summary:
        missing.append("no final figures: the run has not ended, or was stopped")
    elif summary.get("diverged"):
        missing.append(f"the training diverged: {summary.get('divergence')}")
    if not predictions:
        missing.append("no predictions of single test images, so no mistakes and no comparison image by image")
    probes = _read_probes(folder / "pictures/probes/index.json", pictures["deconvolution"])
    taught = folder / "split/train.txt"
    train_images = taught.read_bytes().count(b"\n") if taught.is_file() else 0
    return RunData(folder, folder.resolve().name, settings, rows, summary, predictions, probes, pictures, train_images, missing)


def read_rows(file: Path) -> list[Row]:
    """Read the figures of each epoch from ``metrics.csv``; none where it is missing. Raises SettingsError if it is damaged."""
    return _read_table(file, finite_numbers)


def finite_numbers(row: dict[str, str]) -> Row:
    """Return a row's numbers; those that are not finite are left out, as neither JSON nor an axis knows them."""
    return {name: value for name, cell in row.items() if cell and math.isfinite(value := float(cell))}


def _read_settings(folder: Path) -> dict[str, Any]:
    """Read ``config.yaml``: groups by name, with what a page can't do without."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise SettingsError(f"{folder}: no run's folder, as it has no config.yaml")
    try:
        settings: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        named = [settings["model"]["name"], settings["data"]["name"]]
        epochs = settings["trainer"]["max_epochs"]
    except (yaml.YAMLError, ValueError, LookupError, TypeError) as problem:
        raise SettingsError(f"{file} is damaged: no settings of a run") from problem
    if not all(isinstance(name, str) for name in named) or not isinstance(epochs, int):
        raise SettingsError(f"{file} is damaged: no settings of a run")
    return settings


def _read_predictions(file: Path) -> list[Prediction]:
    return _read_table(file, _prediction)


def _prediction(row: dict[str, str]) -> Prediction:
    confidence, probability = float(row["confidence"]), float(row["probability_of_true"])
    if not (0 <= confidence <= 1 and 0 <= probability <= 1):
        raise ValueError("no probabilities")
    return Prediction(row["file"], row["group"], row["true"], row["predicted"], confidence, probability)


def _read_table(file: Path, read: Callable[[dict[str, str]], T]) -> list[T]:
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [read(row) for row in csv.DictReader(stream)]
    except (csv.Error, ValueError, LookupError, TypeError) as problem:
        raise SettingsError(f"{file} is damaged: {problem}") from problem


def _read_json(file: Path, otherwise: T) -> T:
    """Read a file of the same type as ``otherwise``, which stands in for one that is missing or damaged."""
    try:
        content = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return otherwise
    return content if isinstance(content, type(otherwise)) else otherwise


def _read_index(folder: Path) -> Index:
    by_epoch: dict[str, list[dict[str, Any]]] = _read_json(folder / "index.json", {})
    try:
        return {int(epoch): {entry["place"]: entry for entry in entries} for epoch, entries in by_epoch.items()}
    except (ValueError, LookupError, TypeError):
        return {}  # damaged, as good as missing


def _read_probes(file: Path, deconvolution: Index) -> list[dict[str, str]]:
    """Read the probes; of a run that doesn't list them, the folders of their pictures are their names."""
    probes: list[dict[str, str]] = _read_json(file, [])
    if probes:
        return probes
    places = {place.split("/")[0]: None for entries in deconvolution.values() for place in entries}
    return [{"place": place, "name": place, "class": "", "part": ""} for place in places]
