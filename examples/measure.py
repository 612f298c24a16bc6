"""Measure what trained networks show on test images, with uncertainties, and what becomes of the report's three claims.

python examples/measure.py runs/alexnet-caltech101-seed1 runs/zfnet-caltech101-seed1 --out results/measures

The first run stands for AlexNet, the second for ZFNet. The same number of test images of each class is taken, the same ones
for both. Every number is that of ``viz_callbacks.numbers``; an interval is the mean over images plus and minus 1.96 standard
errors, of the differences image by image where two things are compared. It says nothing of what another training would have
given.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from configs.command_line import load_settings
from datamodules import ImageDataModule, build_datamodule
from lightning_modules.checkpoints import load_network
from lightning_modules.networks import IMAGE_SIZES
from viz_callbacks.numbers import ProjectionNumbers

BATCH = 8

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


def balanced(data: ImageDataModule, per_class: int) -> list[int]:
    """The first test images of each class, in order."""
    test = data.split.test
    return [int(i) for target in range(len(data.class_names)) for i in test[data.targets[test] == target][:per_class]]


def measured(run: Path, data: ImageDataModule, indices: list[int], controlled: int) -> Values:
    """All numbers of a run's last weights on the images; the controls on about ``controlled`` of them, evenly spaced."""
    network, _ = load_network(run / "checkpoints/last.ckpt")
    network.to(memory_format=torch.channels_last)
    numbers = ProjectionNumbers(network)
    every = max(1, len(indices) // controlled)
    with torch.inference_mode():
        for start in track(range(0, len(indices), BATCH), f"{run.name}: projections"):
            numbers.project(*_batch(data, indices[start : start + BATCH]))
        projected = {name: measure.per_image() for name, measure in numbers.measures.items()}
        few = ProjectionNumbers(network)
        chosen = indices[::every]
        for start in track(range(0, len(chosen), BATCH), f"{run.name}: controls"):
            images, targets, outlines = _batch(data, chosen[start : start + BATCH])
            few.control(images, targets, few.project(images, targets, outlines))
    return {name: measure.per_image() for name, measure in few.measures.items()} | projected


def comparisons(alexnet: Values, zfnet: Values) -> list[Comparison]:
    """The report's claims, each as differences that it wants to be above 0. Grids are compared by their logarithms."""
    found = []
    pictures = [name.partition("/")[2] for name in alexnet if name.startswith("detail/") and not name.endswith("gradient")]
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
    return data.normalise(data.images(indices)), torch.from_numpy(data.targets[indices]), data.outlines(indices)


def _compared(claim: str, what: str, more: Tensor, less: Tensor) -> Comparison:
    return Comparison(claim, what, Interval.of(more - less))


def _markdown(runs: list[Path], found: list[dict[str, Interval]], compared: list[Comparison], images: int) -> str:
    lines = [
        "# What the networks show, measured",
        "",
        f"`python examples/measure.py {' '.join(map(str, runs))}`: {images} test images, the same of each class. Means "
        "over images and their 95 % intervals; `grid` by geometric means. What each number means: `viz_callbacks/numbers.py`.",
        "",
        "| number | " + " | ".join(run.name for run in runs) + " | images |",
        "|---" * (len(runs) + 2) + "|",
    ]
    for name in found[0]:
        cells = [f"{each[name].mean:.3f} ({each[name].low:.3f} to {each[name].high:.3f})" for each in found]
        lines.append(f"| {name} | {' | '.join(cells)} | {found[0][name].images} |")
    for claim in dict.fromkeys(each.claim for each in compared):
        lines += ["", f"## {claim}", "", "| | difference, image by image | verdict |", "|---|---|---|"]
        for each in (each for each in compared if each.claim == claim):
            interval = each.difference
            lines.append(f"| {each.what} | {interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f}) | {each.verdict} |")
    return "\n".join(lines) + "\n"


def _summarised(values: Values) -> dict[str, Interval]:
    """Means and intervals by name; of grids the geometric ones."""
    found = {}
    for name, each in values.items():
        interval = Interval.of(each.log() if name.startswith("grid") else each)
        if name.startswith("grid"):
            low, mean, high = np.exp([interval.low, interval.mean, interval.high]).tolist()
            interval = Interval(mean, low, high, interval.images)
        found[name] = interval
    return found


def main() -> None:
    """Read the command line, measure and write ``measures.json`` and ``measures.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="one run, or AlexNet's and ZFNet's")
    parser.add_argument("--per-class", type=int, default=3, help="test images of each class [default: 3]")
    parser.add_argument("--controlled", type=int, default=101, help="images for the costly controls, about [default: 101]")
    parser.add_argument("--out", type=Path, required=True, help="folder for measures.json and measures.md")
    words = parser.parse_args()
    values = []
    for run in words.runs:
        settings = load_settings(run / "config.yaml")
        data = build_datamodule(settings.data, settings.data.image_size or IMAGE_SIZES[settings.model.name], settings.seed)
        data.prepare_data()
        data.setup()
        indices = balanced(data, words.per_class)
        values.append(measured(run, data, indices, words.controlled))
    found = [_summarised(each) for each in values]
    compared = comparisons(*values) if len(values) == 2 else []
    words.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "images": [data.files[i] for i in indices],
        "numbers": {run.name: {k: asdict(v) for k, v in each.items()} for run, each in zip(words.runs, found, strict=True)},
        "claims": [{**asdict(each), "verdict": each.verdict} for each in compared],
    }
    (words.out / "measures.json").write_text(json.dumps(facts, indent=1) + "\n")
    (words.out / "measures.md").write_text(_markdown(words.runs, found, compared, len(indices)))
    print(f"Written: {words.out / 'measures.md'} and measures.json")


if __name__ == "__main__":
    main()
