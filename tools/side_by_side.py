"""Look into trained networks once more: all pictures of the probes at the last weights, and the networks side by side.

python -m tools.side_by_side runs/alexnet-caltech101-seed1 runs/zfnet-caltech101-seed1 --out results/look

For each run the overview, its first filters, Deconvolution, DeNet, occlusion and invariance, as the callbacks make them, and
``classes.jpg``: DeNet of each probe for its own and for other classes, with and without subtracting the biases. For all runs
together ``strips/<probe>.jpg``: the image, all layers and DeNet, a row for each network; ``strips.jpg``, all of them below each
other; and ``categories.jpg``: the last convolution layer and DeNet of every probe, network beside network. Rows are called by
their networks, or by their runs' folders where two are of one network.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from configs.parser import load_settings
from experiment.run_folder import read_rows
from experiment.visualization import build_probes, load_run
from viz_callbacks.callbacks import (
    DeconvolutionPictures,
    DeNetPictures,
    FilterPictures,
    InvariancePictures,
    OcclusionPictures,
    OverviewPictures,
    Probes,
)
from viz_callbacks.callbacks.probes import ProbePictures
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing.layout import stack_vertically
from viz_callbacks.drawing.pixels import Pixels, robust_range, signed_picture
from viz_callbacks.drawing.sheets import row_sheet, table_sheet
from viz_callbacks.methods.denet import denet
from viz_callbacks.metrics.similarity import PairwiseCosine

KINDS: tuple[type[ProbePictures], ...] = (
    OverviewPictures,
    FilterPictures,
    DeconvolutionPictures,
    DeNetPictures,
    OcclusionPictures,
    InvariancePictures,
)
CLASSES = 3  # DeNet is shown for so many of each probe


def draw_strip(snapshots: Mapping[str, ProbeSnapshot], probes: Probes, number: int) -> Image.Image:
    """Draw a row for each network: the image of a probe, Deconvolution of every convolution layer, DeNet.

    Args:
        snapshots: of the probes, by the networks' names; the networks have the same convolution layers.
        probes: the images.
        number: of the probe.
    """
    columns, rows = list[str](), list[tuple[str, list[Pixels]]]()
    for name, snapshot in snapshots.items():
        projections = {layer: snapshot.deconvolution(layer)[number] for layer in snapshot.layers}
        projections["DeNet"] = snapshot.denet(snapshot.targets)[number]
        projections["DeNet, no biases"] = snapshot.denet(snapshot.targets, subtract_bias=False)[number]
        columns = ["image", *projections]
        tiles = [signed_picture(each, robust_range(each)) for each in projections.values()]
        confidence = f"{float(snapshot.confidence[number]):.0%}"
        words = f"{name}: predicts {probes.class_names[int(snapshot.predicted[number])]} with {confidence}"
        rows.append((words, [probes.original(number), *tiles]))
    heading = (
        f"{probes.names[number]} ({probes.notes[number]}): Deconvolution of each convolution layer, DeNet of the true class"
    )
    return table_sheet([heading], columns, rows)


def draw_networks(snapshots: Mapping[str, ProbeSnapshot], probes: Probes) -> Image.Image:
    """Draw a row for each probe: the image, then Deconvolution of the last convolution layer and DeNet by each network.

    Arguments as for ``draw_strip``.
    """
    pictures: dict[str, Tensor] = {}
    for number, snapshot in enumerate(snapshots.values(), 1):
        last = snapshot.layers[-1]
        pictures[f"{number}: {last}"] = snapshot.deconvolution(last)
        pictures[f"{number}: DeNet"] = snapshot.denet(snapshot.targets)
    key = ", ".join(f"{number} is {name}" for number, name in enumerate(snapshots, 1))
    return _draw_table(["Deconvolution of the last convolution layer and DeNet of the true class", key], probes, pictures)


def draw_classes(name: str, snapshot: ProbeSnapshot, probes: Probes) -> Image.Image:
    """Draw a row for each probe: the image, then DeNet for the true class and for others, the biases subtracted or not."""
    count = len(probes.class_names)
    pictures, heading = dict[str, Tensor](), f"{name}: DeNet of the true class and of others"
    for subtract_bias, suffix in ((True, ""), (False, ", no bias")):
        of_classes = []
        for step in (number * count // CLASSES for number in range(CLASSES)):
            classes = (snapshot.targets + step) % count
            of_classes.append(denet(snapshot.traces, classes, subtract_bias=subtract_bias))
            pictures[(f"{step} classes on" if step else "true class") + suffix] = of_classes[-1]
        heading += f"; cosine between them{suffix}: {float(PairwiseCosine()(torch.stack(of_classes, 1))):.2f}"
    return _draw_table([heading], probes, pictures)


def _draw_table(heading: Sequence[str], probes: Probes, pictures: Mapping[str, Tensor]) -> Image.Image:
    """Lay out pictures (P, 3, H, W) by name, a row for each probe, each on its own scale."""
    rows = []
    for number, name in enumerate(probes.names):
        tiles: list[tuple[str, Pixels]] = [(name.replace("image_", ""), probes.original(number))]
        tiles += [(title, signed_picture(each[number], robust_range(each[number]))) for title, each in pictures.items()]
        rows.append(row_sheet(heading if number == 0 else [], tiles))
    return stack_vertically(rows)


def main() -> None:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.side_by_side", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--probes", nargs="*", default=[], help="files or classes [default: the data set's own eight]")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    options = parser.parse_args()
    models = [load_settings(run / "config.yaml").model.name for run in options.runs]
    names = models if len(set(models)) == len(models) else [run.name for run in options.runs]
    snapshots: dict[str, ProbeSnapshot] = {}
    for name, run in zip(names, options.runs, strict=True):
        network, data = load_run(run)
        probes = build_probes(data, options.probes)
        epoch = int(read_rows(run / "metrics.csv")[-1]["epoch"])
        for kind in KINDS:
            kind(options.out / run.name / kind.name, probes).render(network, epoch)
        snapshots[name] = probes.snapshot(network)
        with torch.inference_mode():
            draw_classes(name, snapshots[name], probes).save(options.out / run.name / "classes.jpg", quality=88)
        print(f"Written: {options.out / run.name}")
    folder = options.out / "strips"
    folder.mkdir(exist_ok=True)
    with torch.inference_mode():
        draw_networks(snapshots, probes).save(options.out / "categories.jpg", quality=88)
        strips = [draw_strip(snapshots, probes, number) for number in range(len(probes.names))]
    for number, strip in enumerate(strips):
        strip.save(folder / f"{probes.folder(number)}.jpg", quality=88)
    stack_vertically(strips).save(options.out / "strips.jpg", quality=82)
    print(f"Written: {options.out / 'categories.jpg'}, strips.jpg and {folder}")


if __name__ == "__main__":
    main()
