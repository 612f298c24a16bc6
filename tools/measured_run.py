"""What one training shows on test images, image by image, as a file that outlives its weights."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

from configs.files import atomic_write_text
from datamodules.datamodule import ImageDataModule
from tools.claims import Interval
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.denet import denet
from viz_callbacks.metrics.blockiness import blockiness
from viz_callbacks.metrics.dead_maps import DeadMapHooks
from viz_callbacks.metrics.projection_metrics import PERIODS, ProjectionMetrics

BATCH_SIZE = 8
FOR_DEAD_MAPS = 100  # images
STRENGTHS = (0, 5, 10, 20, 40)  # grey levels of the grids that photographs are given
DIGITS = 6  # of each value in the file
DENET_VARIANTS = {
    "denet-unrectified": partial(denet, rectify_dense=False),
    "denet-unbiased": partial(denet, subtract_bias=False),
    "denet-unrectified-unbiased": partial(denet, rectify_dense=False, subtract_bias=False),
}


@dataclass(frozen=True)
class MeasuredRun:
    """The metrics of one training.

    Attributes:
        run: its folder's name.
        network: its network's name.
        files: of the images.
        photographs: a checksum of their pixels, by which runs that saw them at another size differ.
        metrics: values (N,) by name, one for each image, NaN where it has none.
        dead_maps: for each layer, how many maps show nothing on any of 100 test images, and how many there are.
        grids: what the grid's metric says of the photographs, by the period of a grid that was added to them, in pixels, and
            its strength in grey levels.
    """

    run: str
    network: str
    files: list[str]
    photographs: str
    metrics: dict[str, Tensor]
    dead_maps: dict[str, tuple[int, int]]
    grids: dict[int, dict[int, Interval]]

    @classmethod
    def load(cls, file: Path) -> "MeasuredRun":
        """Read what ``save`` wrote.

        Raises:
            ValueError: the file is none of these.
        """
        try:
            facts = json.loads(file.read_text())
            facts["metrics"] = {
                name: torch.tensor([math.nan if value is None else value for value in values])
                for name, values in facts["metrics"].items()
            }
            facts["dead_maps"] = {layer: (dead, maps) for layer, (dead, maps) in facts["dead_maps"].items()}
            facts["grids"] = {
                int(period): {int(strength): Interval(**each) for strength, each in by_strength.items()}
                for period, by_strength in facts["grids"].items()
            }
            return cls(**facts)
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as problem:
            raise ValueError(f"{file}: not what tools.measure writes of a run ({problem})") from None

    def save(self, file: Path) -> None:
        """Write a file for ``load``, whole or not at all, with values to six digits."""
        facts = {**vars(self)}
        facts["metrics"] = {name: [_rounded(value) for value in values.tolist()] for name, values in self.metrics.items()}
        facts["grids"] = {p: {s: asdict(each) for s, each in by_strength.items()} for p, by_strength in self.grids.items()}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(fact)}" for name, fact in facts.items())
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, f"{{{lines}}}\n")


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")


def measure_run(
    name: str, network_name: str, network: nn.Module, data: ImageDataModule, files: Sequence[str], controlled: int
) -> MeasuredRun:
    """Measure a training on the images of these files, the costly controls on about ``controlled`` of them, evenly spaced."""
    indices = data.find(list(files))
    photographs = data.images(indices)
    return MeasuredRun(
        run=name,
        network=network_name,
        files=list(files),
        photographs=hashlib.sha256(photographs.contiguous().numpy().tobytes()).hexdigest(),
        metrics=measure_network(name, network, data, indices, controlled),
        dead_maps=count_dead_maps(network, data),
        grids={
            period: {strength: Interval.of_logarithms([values]) for strength, values in by_strength.items()}
            for period, by_strength in measure_photographs(photographs).items()
        },
    )


def measure_network(
    name: str, network: nn.Module, data: ImageDataModule, indices: Sequence[int], controlled: int
) -> dict[str, Tensor]:
    """Return all metrics of a network by name, one value for each image, NaN where it has none.

    Args:
        name: for the progress bar.
        network: that which is measured, on any device.
        data: its images.
        indices: numbers of the images.
        controlled: the costly controls are taken on about so many of them, evenly spaced.
    """
    metrics = ProjectionMetrics(network, denet_variants=DENET_VARIANTS)
    device = next(network.parameters()).device
    with torch.inference_mode():
        for start in track(range(0, len(indices), BATCH_SIZE), f"{name}: projections"):
            images, targets, masks = _load_batch(data, indices[start : start + BATCH_SIZE], device)
            metrics.update(metrics.project(record(network, images), targets), images, masks)
        controls = ProjectionMetrics(network, denet_variants=DENET_VARIANTS)
        chosen = indices[:: max(1, len(indices) // controlled)]
        for start in track(range(0, len(chosen), BATCH_SIZE), f"{name}: controls"):
            images, targets, masks = _load_batch(data, chosen[start : start + BATCH_SIZE], device)
            traces = record(network, images)
            projections = controls.project(traces, targets)
            controls.update(projections, images, masks)
            controls.update_controls(traces, targets, projections)
    return {name: values.cpu() for name, values in (controls.per_image() | metrics.per_image()).items()}


def count_dead_maps(network: nn.Module, data: ImageDataModule) -> dict[str, tuple[int, int]]:
    """Count each layer's maps that show nothing on any of 100 test images, evenly spaced."""
    indices = data.split.test[:: max(1, len(data.split.test) // FOR_DEAD_MAPS)][:FOR_DEAD_MAPS]
    device = next(network.parameters()).device
    with DeadMapHooks(network) as hooks, torch.inference_mode():
        for start in range(0, len(indices), BATCH_SIZE):
            network(data.normalise(data.images(indices[start : start + BATCH_SIZE])).to(device))
    return {layer: (int(metric.compute()), len(metric.highest)) for layer, metric in hooks.metrics.items()}


def measure_photographs(photographs: Tensor) -> Mapping[int, Mapping[int, Tensor]]:
    """Measure the blockiness of photographs (N, 3, H, W) to which grids of known strength are added.

    Returns (N,) by the grid's period in pixels and its strength in grey levels.
    """
    found: dict[int, dict[int, Tensor]] = {}
    for period in PERIODS:
        grid = torch.zeros(photographs.shape[2:])
        grid[::period, ::period] = 1
        found[period] = {strength: blockiness(photographs.float() + strength * grid, period) for strength in STRENGTHS}
    return found


def _load_batch(data: ImageDataModule, indices: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    images, targets = data.normalise(data.images(indices)), torch.from_numpy(data.targets[list(indices)])
    return images.to(device), targets.to(device), data.masks(indices).to(device)
