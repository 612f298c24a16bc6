"""Measure what trained networks show on test images, with uncertainties, and what becomes of the report's three claims.

python -m tools.measure runs/alexnet-caltech101-seed1 runs/zfnet-caltech101-seed1 --out results/measures

The first run stands for AlexNet, the second for ZFNet. The images are the same for both, ones that neither was trained on, and
as many of each class where there are. The metrics are those of ``viz_callbacks.metrics.projection_metrics``, their intervals
and the comparisons those of ``claims``.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

from datamodules.datamodule import ImageDataModule
from experiment.visualization import load_run
from tools.claims import Comparison, Interval, compare_claims
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.denet import denet
from viz_callbacks.metrics.blockiness import blockiness
from viz_callbacks.metrics.projection_metrics import PERIODS, ProjectionMetrics

BATCH_SIZE = 8
STRENGTHS = (0, 5, 10, 20, 40)  # grey levels of the grids that photographs are given
DENET_VARIANTS = {
    "denet-unrectified": partial(denet, rectify_dense=False),
    "denet-unbiased": partial(denet, subtract_bias=False),
    "denet-unrectified-unbiased": partial(denet, rectify_dense=False, subtract_bias=False),
}

Intervals = dict[int, dict[int, Interval]]  # of grids, by period and strength


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


def _summarise(metrics: Mapping[str, Tensor]) -> dict[str, Interval]:
    """Return means and intervals by name; of grids the geometric ones."""
    return {
        name: (Interval.of_logarithms if name.startswith("grid") else Interval.of)(values) for name, values in metrics.items()
    }


def _format_markdown(
    runs: Sequence[Path],
    found: Sequence[Mapping[str, Interval]],
    comparisons: Sequence[Comparison],
    grids: Intervals,
    images: int,
) -> str:
    lines = [
        "# What the networks show, measured",
        "",
        f"`python -m tools.measure {' '.join(map(str, runs))}`: {images} images that no run was trained on.",
        "Means over images and their 95 % intervals; `grid` by geometric means. What each number means:",
        "`viz_callbacks/metrics/projection_metrics.py`.",
        "",
        "| number | " + " | ".join(run.name for run in runs) + " | images |",
        "|---" * (len(runs) + 2) + "|",
    ]
    lines += [f"| {name} | {' | '.join(str(each[name]) for each in found)} | {found[0][name].images} |" for name in found[0]]
    for claim in dict.fromkeys(each.claim for each in comparisons):
        lines += ["", f"## {claim}", "", "| | difference, image by image | verdict |", "|---|---|---|"]
        lines += [f"| {each.what} | {each.difference} | {each.verdict} |" for each in comparisons if each.claim == claim]
    lines += ["", "## What the grid's number says of photographs", ""]
    lines += ["The same photographs, a grid of dots added that are so many of 255 grey levels brighter.", ""]
    lines += ["| grey levels | " + " | ".join(f"grid{period}" for period in grids) + " |", "|---" * (len(grids) + 1) + "|"]
    lines += [f"| {strength} | {' | '.join(str(each[strength]) for each in grids.values())} |" for strength in STRENGTHS]
    return "\n".join(lines) + "\n"


def _write_results(
    folder: Path,
    runs: Sequence[Path],
    files: Sequence[str],
    found: Sequence[Mapping[str, Interval]],
    comparisons: Sequence[Comparison],
    grids: Intervals,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "images": files,
        "numbers": {run.name: {k: asdict(v) for k, v in each.items()} for run, each in zip(runs, found, strict=True)},
        "claims": [{**asdict(each), "verdict": each.verdict} for each in comparisons],
        "photographs": {p: {s: asdict(each) for s, each in by_strength.items()} for p, by_strength in grids.items()},
    }
    (folder / "measures.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "measures.md").write_text(_format_markdown(runs, found, comparisons, grids, len(files)))


def main() -> None:
    """Read the command line, measure and write ``measures.json`` and ``measures.md``."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.measure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="one run, or AlexNet's and ZFNet's")
    parser.add_argument("--per-class", type=int, default=3, help="images of each class, at most [default: 3]")
    parser.add_argument("--controlled", type=int, default=101, help="images for the costly controls, about [default: 101]")
    parser.add_argument("--out", type=Path, required=True, help="folder for measures.json and measures.md")
    options = parser.parse_args()
    loaded = [load_run(run) for run in options.runs]
    files = find_unseen([data for _, data in loaded], options.per_class)
    if not files:
        parser.error("every image is one that a run was trained on: there is nothing to measure on")
    photographs = [data.images(data.find(files)) for _, data in loaded]
    if not all(torch.equal(photographs[0], others) for others in photographs[1:]):
        parser.error("the runs' images differ: compare runs on one data set, with the same data.image_size")
    metrics = [
        measure_network(run.name, network, data, data.find(files), options.controlled)
        for run, (network, data) in zip(options.runs, loaded, strict=True)
    ]
    found = [_summarise(each) for each in metrics]
    projections = [name.partition("/")[2] for name in metrics[0] if name.startswith("detail/")]
    claimed = [name for name in projections if name not in ("gradient", *DENET_VARIANTS)]
    comparisons = compare_claims(metrics[0], metrics[1], claimed) if len(metrics) == 2 else []
    grids = {
        period: {strength: Interval.of_logarithms(values) for strength, values in by_strength.items()}
        for period, by_strength in measure_photographs(photographs[0]).items()
    }
    _write_results(options.out, options.runs, files, found, comparisons, grids)
    print(f"Written: {options.out / 'measures.md'} and measures.json")


if __name__ == "__main__":
    main()
