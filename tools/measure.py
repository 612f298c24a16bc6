"""Measure what trained networks show on test images, with uncertainties, and what becomes of the report's three claims.

python -m tools.measure runs/alexnet-caltech101-seed1 --versus runs/zfnet-caltech101-seed1 --out results/measures

The first runs are trainings of AlexNet, one for each seed; those after ``--versus`` are ZFNet's, in the same order. Each pair
is measured on images that neither was trained on, as many of each class where there are. The metrics are those of
``viz_callbacks.metrics.projection_metrics``, their intervals and the comparisons those of ``claims``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

from configs.parser import load_settings
from datamodules.datamodule import ImageDataModule
from experiment.visualization import load_run
from tools.claims import Comparison, Interval, compare_claims
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.denet import denet
from viz_callbacks.metrics.blockiness import blockiness
from viz_callbacks.metrics.dead_maps import DeadMapHooks
from viz_callbacks.metrics.projection_metrics import PERIODS, ProjectionMetrics

BATCH_SIZE = 8
FOR_DEAD_MAPS = 100  # images
STRENGTHS = (0, 5, 10, 20, 40)  # grey levels of the grids that photographs are given
DENET_VARIANTS = {
    "denet-unrectified": partial(denet, rectify_dense=False),
    "denet-unbiased": partial(denet, subtract_bias=False),
    "denet-unrectified-unbiased": partial(denet, rectify_dense=False, subtract_bias=False),
}

Intervals = dict[int, dict[int, Interval]]  # of grids, by period and strength
Counts = dict[str, tuple[int, int]]  # of maps, by layer: those that are dead, and all


def find_unseen(runs: Sequence[ImageDataModule], per_class: int) -> list[str]:
    """Return the first files of each class, in the order of the data set, that are test images of every run."""
    first = runs[0]
    files = set.intersection(*({data.files[i] for i in data.split.test} for data in runs))
    found: dict[int, list[str]] = {}
    for file, target in zip(first.files, first.targets.tolist(), strict=True):
        if file in files:
            found.setdefault(target, []).append(file)
    return [file for target in sorted(found) for file in found[target][:per_class]]


def measure_network(
    name: str, network: nn.Module, data: ImageDataModule, indices: Sequence[int], controlled: int
) -> dict[str, Tensor]:
    """Return all metrics of a network by name, one value for each image, NaN where it has none.

    Args:
        name: for the progress bar.
        network: that which is measured.
        data: its images.
        indices: numbers of the images.
        controlled: the costly controls are taken on about so many of them, evenly spaced.
    """
    metrics = ProjectionMetrics(network, denet_variants=DENET_VARIANTS)
    with torch.inference_mode():
        for start in track(range(0, len(indices), BATCH_SIZE), f"{name}: projections"):
            images, targets, masks = _load_batch(data, indices[start : start + BATCH_SIZE])
            metrics.update(metrics.project(record(network, images), targets), images, masks)
        controls = ProjectionMetrics(network, denet_variants=DENET_VARIANTS)
        chosen = indices[:: max(1, len(indices) // controlled)]
        for start in track(range(0, len(chosen), BATCH_SIZE), f"{name}: controls"):
            images, targets, masks = _load_batch(data, chosen[start : start + BATCH_SIZE])
            traces = record(network, images)
            projections = controls.project(traces, targets)
            controls.update(projections, images, masks)
            controls.update_controls(traces, targets, projections)
    return controls.per_image() | metrics.per_image()


def count_dead_maps(network: nn.Module, data: ImageDataModule) -> Counts:
    """Count each layer's maps that show nothing on any of 100 test images, evenly spaced."""
    indices = data.split.test[:: max(1, len(data.split.test) // FOR_DEAD_MAPS)][:FOR_DEAD_MAPS]
    with DeadMapHooks(network) as hooks, torch.inference_mode():
        for start in range(0, len(indices), BATCH_SIZE):
            network(data.normalise(data.images(indices[start : start + BATCH_SIZE])))
    return {layer: (int(metric.compute()), len(metric.highest)) for layer, metric in hooks.metrics.items()}


def measure_photographs(photographs: Tensor) -> dict[int, dict[int, Tensor]]:
    """Measure the blockiness of photographs (N, 3, H, W) to which grids of known strength are added.

    Returns (N,) by the grid's period in pixels and its strength in grey levels.
    """
    found: dict[int, dict[int, Tensor]] = {}
    for period in PERIODS:
        grid = torch.zeros(photographs.shape[2:])
        grid[::period, ::period] = 1
        found[period] = {strength: blockiness(photographs.float() + strength * grid, period) for strength in STRENGTHS}
    return found


def _load_batch(data: ImageDataModule, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    return data.normalise(data.images(indices)), torch.from_numpy(data.targets[list(indices)]), data.masks(indices)


@dataclass
class Measured:
    """The metrics of one network's trainings, and the files of the images that each was measured on.

    runs: folders. metrics: of each training, by name, one value for each image. dead: maps of each training.
    """

    runs: list[Path]
    metrics: list[dict[str, Tensor]] = field(default_factory=list)
    files: list[list[str]] = field(default_factory=list)
    dead: list[Counts] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the network."""
        return load_settings(self.runs[0] / "config.yaml").model.name

    def intervals(self) -> dict[str, Interval]:
        """Return means and intervals by name; of grids the geometric ones."""
        return {
            name: (Interval.of_logarithms if name.startswith("grid") else Interval.of)([each[name] for each in self.metrics])
            for name in self.metrics[0]
        }


def measure_runs(networks: Sequence[Measured], per_class: int, controlled: int) -> Tensor:
    """Measure the trainings of one network, or of two pair by pair on the same images. Returns the photographs of the first.

    Raises:
        ValueError: there are no images, or the runs' images differ.
    """
    kept: list[Tensor] = []
    for runs in zip(*(network.runs for network in networks), strict=True):
        loaded = [load_run(run) for run in runs]
        files = find_unseen([data for _, data in loaded], per_class)
        if not files:
            raise ValueError("every image is one that a run was trained on: there is nothing to measure on")
        photographs = [data.images(data.find(files)) for _, data in loaded]
        if not all(torch.equal(photographs[0], others) for others in photographs[1:]):
            raise ValueError("the runs' images differ: compare runs on one data set, with the same data.image_size")
        kept.append(photographs[0])
        for measured, run, (network, data) in zip(networks, runs, loaded, strict=True):
            measured.metrics.append(measure_network(run.name, network, data, data.find(files), controlled))
            measured.files.append(files)
            measured.dead.append(count_dead_maps(network, data))
    return kept[0]


def _format_markdown(networks: Sequence[Measured], comparisons: Sequence[Comparison], grids: Intervals, command: str) -> str:
    trainings, found = len(networks[0].runs), [network.intervals() for network in networks]
    counts = ", ".join(f"{len(files)}" for files in networks[0].files)
    how = "over images" if trainings == 1 else f"of {trainings} trainings' means over their images, by Student's t"
    lines = [
        "# What the networks show, measured",
        "",
        f"`{command}`: {counts} images that no run of the pair was trained on.",
        f"Means and 95 % intervals {how}; `grid` by geometric means. What each number means:",
        "`viz_callbacks/metrics/projection_metrics.py`.",
        "",
        "| number | " + " | ".join(network.name for network in networks) + " | images |",
        "|---" * (len(networks) + 2) + "|",
    ]
    for name in found[0]:
        lines.append(f"| {name} | {' | '.join(str(each[name]) for each in found)} | {found[0][name].images} |")
    for claim in dict.fromkeys(each.claim for each in comparisons):
        lines += ["", f"## {claim}", "", "| | difference, image by image | verdict |", "|---|---|---|"]
        lines += [f"| {each.what} | {each.difference} | {each.verdict} |" for each in comparisons if each.claim == claim]
    lines += ["", f"## Maps that show nothing on any of {FOR_DEAD_MAPS} test images", ""]
    lines += ["| run | " + " | ".join(networks[0].dead[0]) + " |", "|---" * (len(networks[0].dead[0]) + 1) + "|"]
    for network in networks:
        for run, of_layers in zip(network.runs, network.dead, strict=True):
            lines.append(f"| {run.name} | " + " | ".join(f"{dead} of {maps}" for dead, maps in of_layers.values()) + " |")
    lines += ["", "## What the grid's number says of photographs", ""]
    lines += ["The same photographs, a grid of dots added that are so many of 255 grey levels brighter.", ""]
    lines += ["| grey levels | " + " | ".join(f"grid{period}" for period in grids) + " |", "|---" * (len(grids) + 1) + "|"]
    lines += [f"| {strength} | {' | '.join(str(each[strength]) for each in grids.values())} |" for strength in STRENGTHS]
    return "\n".join(lines) + "\n"


def _write_results(
    folder: Path, networks: Sequence[Measured], comparisons: Sequence[Comparison], grids: Intervals, command: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "command": command,
        "networks": [
            {
                "runs": [run.name for run in network.runs],
                "images": network.files,
                "numbers": {name: asdict(interval) for name, interval in network.intervals().items()},
                "each_run": [
                    {name: float(values.nanmean()) for name, values in metrics.items()} for metrics in network.metrics
                ],
                "dead_maps": network.dead,
            }
            for network in networks
        ],
        "claims": [{**asdict(each), "verdict": each.verdict} for each in comparisons],
        "photographs": {p: {s: asdict(each) for s, each in by_strength.items()} for p, by_strength in grids.items()},
    }
    (folder / "measures.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "measures.md").write_text(_format_markdown(networks, comparisons, grids, command))


def main() -> None:
    """Read the command line, measure and write ``measures.json`` and ``measures.md``."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.measure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="trainings of one network, AlexNet for the claims")
    parser.add_argument("--versus", nargs="+", type=Path, metavar="RUN", help="as many of the other, ZFNet for the claims")
    parser.add_argument("--per-class", type=int, default=3, help="images of each class, at most [default: 3]")
    parser.add_argument("--controlled", type=int, default=101, help="images for the costly controls, about [default: 101]")
    parser.add_argument("--out", type=Path, required=True, help="folder for measures.json and measures.md")
    options = parser.parse_args()
    networks = [Measured(options.runs), *([Measured(options.versus)] if options.versus else [])]
    if options.versus and len(options.versus) != len(options.runs):
        parser.error(
            f"{len(options.runs)} runs versus {len(options.versus)}: give as many of each, in the order of their seeds"
        )
    try:
        photographs = measure_runs(networks, options.per_class, options.controlled)
    except ValueError as problem:
        parser.error(str(problem))
    projections = [name.partition("/")[2] for name in networks[0].metrics[0] if name.startswith("detail/")]
    claimed = [name for name in projections if name not in ("gradient", *DENET_VARIANTS)]
    comparisons = compare_claims(networks[0].metrics, networks[1].metrics, claimed) if options.versus else []
    grids = {
        period: {strength: Interval.of_logarithms([values]) for strength, values in by_strength.items()}
        for period, by_strength in measure_photographs(photographs).items()
    }
    command = " ".join(["python -m tools.measure", *sys.argv[1:]])
    _write_results(options.out, networks, comparisons, grids, command)
    print(f"Written: {options.out / 'measures.md'} and measures.json")


if __name__ == "__main__":
    main()
