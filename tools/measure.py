"""Measure what trained networks show on test images, with uncertainties, and what becomes of the report's three claims.

python -m tools.measure runs/alexnet-caltech101-seed1 runs/zfnet-caltech101-seed1 --out results/measures

The first run stands for AlexNet, the second for ZFNet. The images are the same for both, ones that neither was trained on, and
as many of each class where there are. Every number is that of ``viz_callbacks.numbers``; an interval is the mean over images
plus and minus 1.96 standard errors, of the differences image by image where two things are compared. It says nothing of what
another training would have given.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

from datamodules.datamodule import ImageDataModule
from experiment.visualization import load_run
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.denet import denet
from viz_callbacks.metrics.blockiness import blockiness
from viz_callbacks.metrics.projection_metrics import PERIODS, ProjectionMetrics

BATCH = 8
STRENGTHS = (0, 5, 10, 20, 40)  # grey levels of the grids that photographs are given
DENET_VARIANTS = {
    "denet-unrectified": partial(denet, rectify_dense=False),
    "denet-unbiased": partial(denet, subtract_bias=False),
    "denet-unrectified-unbiased": partial(denet, rectify_dense=False, subtract_bias=False),
}

Values = dict[str, Tensor]  # by the number's name, one value for each image, NaN where it has none


@dataclass(frozen=True)
class Interval:
    """A mean over images with its 95 % interval. images: how many had a value."""

    mean: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, values: Tensor) -> "Interval":
        """Of values of images, NaN left out."""
        known = values[~values.isnan()].double()
        error = 1.96 * float(known.std()) / math.sqrt(len(known)) if len(known) > 1 else math.nan
        return cls(float(known.mean()), float(known.mean()) - error, float(known.mean()) + error, len(known))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Comparison:
    """One of a claim's comparisons: the difference of two numbers, image by image; the claim wants it above 0."""

    claim: str
    what: str
    difference: Interval

    @property
    def verdict(self) -> str:
        """Whether the interval lies above, below or across 0."""
        return "holds" if self.difference.low > 0 else "does not hold" if self.difference.high < 0 else "not decided"


def unseen_by_all(runs: Sequence[ImageDataModule], per_class: int) -> list[str]:
    """The first images of each class, in the order of their files, that are test images of every run."""
    first = runs[0]
    files = set.intersection(*({data.files[i] for i in data.split.test} for data in runs))
    found: dict[int, list[str]] = {}
    for file, target in zip(first.files, first.targets.tolist(), strict=True):
        if file in files:
            found.setdefault(target, []).append(file)
    return [file for target in sorted(found) for file in found[target][:per_class]]


def places(data: ImageDataModule, files: Sequence[str]) -> list[int]:
    """The images' numbers in a data set."""
    place = {file: number for number, file in enumerate(data.files)}
    return [place[file] for file in files]


def measured(name: str, network: nn.Sequential, data: ImageDataModule, indices: list[int], controlled: int) -> Values:
    """All numbers of a network on the images; the controls on about ``controlled`` of them, evenly spaced."""
    numbers = ProjectionMetrics(network, denet_variants=DENET_VARIANTS)
    with torch.inference_mode():
        for start in track(range(0, len(indices), BATCH), f"{name}: projections"):
            images, targets, masks = _batch(data, indices[start : start + BATCH])
            numbers.update(numbers.project(record(network, images), targets), images, masks)
        projected = numbers.per_image()
        few = ProjectionMetrics(network, denet_variants=DENET_VARIANTS)
        chosen = indices[:: max(1, len(indices) // controlled)]
        for start in track(range(0, len(chosen), BATCH), f"{name}: controls"):
            images, targets, masks = _batch(data, chosen[start : start + BATCH])
            traces = record(network, images)
            projections = few.project(traces, targets)
            few.update(projections, images, masks)
            few.update_controls(traces, targets, projections)
    return few.per_image() | projected


def calibration(photographs: Tensor) -> dict[int, dict[int, Tensor]]:
    """The grid's number of photographs (N, 3, H, W) themselves and with grids of known strength, by period and strength."""
    found: dict[int, dict[int, Tensor]] = {}
    for period in PERIODS:
        grid = torch.zeros(photographs.shape[2:])
        grid[::period, ::period] = 1
        found[period] = {strength: blockiness(photographs.float() + strength * grid, period) for strength in STRENGTHS}
    return found


def comparisons(alexnet: Values, zfnet: Values) -> list[Comparison]:
    """The report's claims, each as differences that it wants to be above 0. Grids are compared by their logarithms."""
    found = []
    shown = [name.partition("/")[2] for name in alexnet if name.startswith("detail/")]
    pictures = [name for name in shown if name not in ("gradient", *DENET_VARIANTS)]
    for picture in pictures:
        for period in (4, 2):
            grids = [each[f"grid{period}/{picture}"].log() for each in (alexnet, zfnet)]
            found.append(_compared("AlexNet shows more blocks", f"grid{period}/{picture}, logarithm", *grids))
    for picture in pictures:
        name = f"detail/{picture}"
        found.append(_compared("ZFNet captures more detail", name, zfnet[name], alexnet[name]))
    last = pictures[-2]  # the last convolution layer
    for network, values in (("AlexNet", alexnet), ("ZFNet", zfnet)):
        for measure, sign in (("detail", 1), ("inside", 1), ("pointing", 1), ("insertion", 1), ("deletion", -1)):
            both = [sign * values[f"{measure}/{picture}"] for picture in ("denet", last)]
            what = f"{network}: {measure}, " + ("less" if sign < 0 else "more")
            found.append(_compared(f"DeNet captures more than Deconvolution of {last}", what, *both))
    return found


def _batch(data: ImageDataModule, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return data.normalise(data.images(indices)), torch.from_numpy(data.targets[indices]), data.masks(indices)


def _compared(claim: str, what: str, more: Tensor, less: Tensor) -> Comparison:
    return Comparison(claim, what, Interval.of(more - less))


def _markdown(
    runs: list[Path],
    found: list[dict[str, Interval]],
    compared: list[Comparison],
    grids: dict[int, dict[int, Interval]],
    images: int,
) -> str:
    lines = [
        "# What the networks show, measured",
        "",
        f"`python -m tools.measure {' '.join(map(str, runs))}`: {images} images that no run was trained on.",
        "Means over images and their 95 % intervals; `grid` by geometric means. What each number means:",
        "`viz_callbacks/numbers.py`.",
        "",
        "| number | " + " | ".join(run.name for run in runs) + " | images |",
        "|---" * (len(runs) + 2) + "|",
    ]
    lines += [f"| {name} | {' | '.join(str(each[name]) for each in found)} | {found[0][name].images} |" for name in found[0]]
    for claim in dict.fromkeys(each.claim for each in compared):
        lines += ["", f"## {claim}", "", "| | difference, image by image | verdict |", "|---|---|---|"]
        lines += [f"| {each.what} | {each.difference} | {each.verdict} |" for each in compared if each.claim == claim]
    lines += ["", "## What the grid's number says of photographs", ""]
    lines += ["The same photographs, a grid of dots added that are so many of 255 grey levels brighter.", ""]
    lines += ["| grey levels | " + " | ".join(f"grid{period}" for period in grids) + " |", "|---" * (len(grids) + 1) + "|"]
    lines += [f"| {strength} | {' | '.join(str(each[strength]) for each in grids.values())} |" for strength in STRENGTHS]
    return "\n".join(lines) + "\n"


def _summarised(values: Values) -> dict[str, Interval]:
    """Means and intervals by name; of grids the geometric ones."""
    return {name: (_geometric if name.startswith("grid") else Interval.of)(each) for name, each in values.items()}


def _geometric(values: Tensor) -> Interval:
    """The geometric mean of values and its interval."""
    interval = Interval.of(values.log())
    return Interval(math.exp(interval.mean), math.exp(interval.low), math.exp(interval.high), interval.images)


def main() -> None:
    """Read the command line, measure and write ``measures.json`` and ``measures.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="one run, or AlexNet's and ZFNet's")
    parser.add_argument("--per-class", type=int, default=3, help="images of each class, at most [default: 3]")
    parser.add_argument("--controlled", type=int, default=101, help="images for the costly controls, about [default: 101]")
    parser.add_argument("--out", type=Path, required=True, help="folder for measures.json and measures.md")
    words = parser.parse_args()
    opened = [load_run(run) for run in words.runs]
    files = unseen_by_all([data for _, data in opened], words.per_class)
    photographs = [data.images(places(data, files)) for _, data in opened]
    if not all(torch.equal(photographs[0], others) for others in photographs[1:]):
        parser.error("the runs' images differ: compare runs on one data set, with the same data.image_size")
    values = [
        measured(run.name, network, data, places(data, files), words.controlled)
        for run, (network, data) in zip(words.runs, opened, strict=True)
    ]
    found = [_summarised(each) for each in values]
    compared = comparisons(*values) if len(values) == 2 else []
    grids = {
        period: {strength: _geometric(each) for strength, each in by_strength.items()}
        for period, by_strength in calibration(photographs[0]).items()
    }
    words.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "images": files,
        "numbers": {run.name: {k: asdict(v) for k, v in each.items()} for run, each in zip(words.runs, found, strict=True)},
        "claims": [{**asdict(each), "verdict": each.verdict} for each in compared],
        "photographs": {p: {s: asdict(each) for s, each in by_strength.items()} for p, by_strength in grids.items()},
    }
    (words.out / "measures.json").write_text(json.dumps(facts, indent=1) + "\n")
    (words.out / "measures.md").write_text(_markdown(words.runs, found, compared, grids, len(files)))
    print(f"Written: {words.out / 'measures.md'} and measures.json")


if __name__ == "__main__":
    main()
