"""Measure what trained networks show on test images, with uncertainties, and what becomes of the report's three claims.

python -m tools.measure runs/alexnet-caltech101-seed1 --versus runs/zfnet-caltech101-seed1 --out results/measures

The first runs are trainings of AlexNet, one for each seed; those after ``--versus`` are ZFNet's, in the same order. Each pair
is measured on images that neither was trained on, as many of each class where there are. The metrics are those of
``viz_callbacks.metrics.projection_metrics``, their intervals and the comparisons those of ``claims``.

Each run's numbers are written to ``runs/NAME.json`` below ``--out``. Such a file can stand for its run, whose weights may be
gone by then.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from configs.files import atomic_write_text
from configs.parser import load_settings
from datamodules.datamodule import ImageDataModule
from experiment.hardware import best_device
from experiment.visualization import load_run
from tools.claims import Comparison, Interval, compare_claims
from tools.measured_run import DENET_VARIANTS, FOR_DEAD_MAPS, STRENGTHS, MeasuredRun, measure_run


@dataclass(frozen=True)
class Trainings:
    """The measured trainings of one network."""

    runs: list[MeasuredRun]

    @property
    def name(self) -> str:
        """Of the network."""
        return self.runs[0].network

    def intervals(self) -> dict[str, Interval]:
        """Return means and intervals by name; of grids the geometric ones."""
        return {
            name: (Interval.of_logarithms if name.startswith("grid") else Interval.of)([run.metrics[name] for run in self.runs])
            for name in self.runs[0].metrics
        }


def find_unseen(runs: Sequence[ImageDataModule], per_class: int) -> list[str]:
    """Return the first files of each class, in the order of the data set, that are test images of every run."""
    first = runs[0]
    files = set.intersection(*({data.files[i] for i in data.split.test} for data in runs))
    found: dict[int, list[str]] = {}
    for file, target in zip(first.files, first.targets.tolist(), strict=True):
        if file in files:
            found.setdefault(target, []).append(file)
    return [file for target in sorted(found) for file in found[target][:per_class]]


def measure_together(places: Sequence[Path], per_class: int, controlled: int, folder: Path) -> list[MeasuredRun]:
    """Measure runs on the same images, which none of them was trained on, and write each to ``folder``.

    Args:
        places: folders of runs, or files that stand for them, which say on what images to measure the others.
        per_class: images of each class, at most, where no file says it.
        controlled: the costly controls are taken on about so many images.
        folder: for ``NAME.json`` of each run.

    Raises:
        ValueError: there are no such images, the runs' images differ, or a file is none of a run.
    """
    known = {place: MeasuredRun.load(place) for place in places if place.is_file()}
    loaded = {place: load_run(place) for place in places if place not in known}
    datas = [data for _, data in loaded.values()]
    files = next((run.files for run in known.values()), None) or find_unseen(datas, per_class)
    if not files:
        raise ValueError("every image is one that a run was trained on: there is nothing to measure on")
    for place, (_, data) in loaded.items():
        if not set(files) <= {data.files[index] for index in data.split.test}:
            raise ValueError(f"{place} was trained on images that another run was measured on: give runs of one split")
    for place, (network, data) in loaded.items():
        name = load_settings(place / "config.yaml").model.name
        file = folder / f"{place.resolve().name}.json"
        measure_run(file.stem, name, network.to(best_device()), data, files, controlled).save(file)
        known[place] = MeasuredRun.load(file)  # with its rounded values, so that tables of runs and of their files are the same
    runs = [known[place] for place in places]
    if any(run.files != files or run.photographs != runs[0].photographs for run in runs):
        raise ValueError("the runs' images differ: compare runs of one split, with the same data.image_size")
    if any(run.metrics.keys() != runs[0].metrics.keys() for run in runs):
        raise ValueError("the runs' numbers differ: measure runs of networks with the same layers, by one version")
    return runs


def _format_markdown(networks: Sequence[Trainings], comparisons: Sequence[Comparison], command: str) -> str:
    trainings, found = len(networks[0].runs), [network.intervals() for network in networks]
    counts = ", ".join(f"{len(run.files)}" for run in networks[0].runs)
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
    layers = networks[0].runs[0].dead_maps
    lines += ["", f"## Maps that show nothing on any of {FOR_DEAD_MAPS} test images", ""]
    lines += ["| run | " + " | ".join(layers) + " |", "|---" * (len(layers) + 1) + "|"]
    for run in (run for network in networks for run in network.runs):
        lines.append(f"| {run.run} | " + " | ".join(f"{dead} of {maps}" for dead, maps in run.dead_maps.values()) + " |")
    grids = networks[0].runs[0].grids
    lines += ["", "## What the grid's number says of photographs", ""]
    lines += ["The same photographs, a grid of dots added that are so many of 255 grey levels brighter.", ""]
    lines += ["| grey levels | " + " | ".join(f"grid{period}" for period in grids) + " |", "|---" * (len(grids) + 1) + "|"]
    lines += [f"| {strength} | {' | '.join(str(each[strength]) for each in grids.values())} |" for strength in STRENGTHS]
    return "\n".join(lines) + "\n"


def _write_results(folder: Path, networks: Sequence[Trainings], comparisons: Sequence[Comparison], command: str) -> None:
    facts = {
        "command": command,
        "networks": [
            {
                "runs": [run.run for run in network.runs],
                "images": [run.files for run in network.runs],
                "numbers": {name: asdict(interval) for name, interval in network.intervals().items()},
                "each_run": [{name: float(values.nanmean()) for name, values in run.metrics.items()} for run in network.runs],
                "dead_maps": [run.dead_maps for run in network.runs],
            }
            for network in networks
        ],
        "claims": [{**asdict(each), "verdict": each.verdict} for each in comparisons],
        "photographs": {
            period: {strength: asdict(each) for strength, each in by_strength.items()}
            for period, by_strength in networks[0].runs[0].grids.items()
        },
    }
    atomic_write_text(folder / "measures.json", json.dumps(facts, indent=1) + "\n")
    atomic_write_text(folder / "measures.md", _format_markdown(networks, comparisons, command))


def main() -> None:
    """Read the command line, measure and write ``measures.json`` and ``measures.md``."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.measure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="trainings of one network, AlexNet for the claims")
    parser.add_argument("--versus", nargs="+", type=Path, metavar="RUN", help="as many of the other, ZFNet for the claims")
    parser.add_argument("--per-class", type=int, default=3, help="images of each class, at most [default: 3]")
    parser.add_argument("--controlled", type=int, default=101, help="images for the costly controls, about [default: 101]")
    parser.add_argument("--out", type=Path, required=True, help="folder for measures.json, measures.md and runs/NAME.json")
    options = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # a GPU multiplies in full float32, as the CPU does
    if options.versus and len(options.versus) != len(options.runs):
        parser.error(
            f"{len(options.runs)} runs versus {len(options.versus)}: give as many of each, in the order of their seeds"
        )
    networks = [options.runs, *([options.versus] if options.versus else [])]
    folders = {place.resolve() for places in networks for place in places if not place.is_file()}
    names = [folder.name for folder in folders]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        parser.error(f"two runs are called {repeated[0]}: rename the folder of one, since each run's numbers get its name")
    written = {(options.out / "runs" / f"{name}.json").resolve() for name in names}
    if lost := sorted(place for places in networks for place in places if place.resolve() in written):
        parser.error(f"{lost[0]} stands for a run, and another of its name would take its place: rename the file")
    try:
        pairs = [
            measure_together(places, options.per_class, options.controlled, options.out / "runs")
            for places in zip(*networks, strict=True)
        ]
    except ValueError as problem:
        parser.error(str(problem))
    trainings = [Trainings(list(runs)) for runs in zip(*pairs, strict=True)]
    projections = [name.partition("/")[2] for name in trainings[0].runs[0].metrics if name.startswith("detail/")]
    claimed = [name for name in projections if name not in ("gradient", *DENET_VARIANTS)]
    one, other = ([run.metrics for run in network.runs] for network in (trainings[0], trainings[-1]))
    comparisons = compare_claims(one, other, claimed) if options.versus else []
    options.out.mkdir(parents=True, exist_ok=True)
    _write_results(options.out, trainings, comparisons, " ".join(["python -m tools.measure", *sys.argv[1:]]))
    print(f"Written: {options.out / 'measures.md'}, measures.json and runs/")


if __name__ == "__main__":
    main()
