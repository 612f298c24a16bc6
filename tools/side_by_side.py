"""Look into trained networks once more: all pictures of the probes at the last weights, and the networks side by side.

python -m tools.side_by_side runs/alexnet-caltech101-seed1 runs/zfnet-caltech101-seed1 --out results/look

For each run its first filters, Deconvolution, DeNet, occlusion and invariance, as the callbacks make them, and
``classes.jpg``: DeNet of each probe for its own and for other classes, with and without subtracting the biases. For all runs
together ``categories.jpg``: Deconvolution and DeNet of each probe, network beside network.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from experiment.run_folder import read_rows
from experiment.visualization import build_probes, load_run
from viz_callbacks.callbacks import (
    DeconvolutionPictures,
    DeNetPictures,
    FilterPictures,
    InvariancePictures,
    OcclusionPictures,
    Probes,
)
from viz_callbacks.drawing.layout import stack_vertically
from viz_callbacks.drawing.pixels import Pixels, robust_range, signed_picture
from viz_callbacks.drawing.sheets import row_sheet
from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet
from viz_callbacks.metrics.similarity import PairwiseCosine

KINDS = {
    "filters": FilterPictures,
    "deconvolution": DeconvolutionPictures,
    "denet": DeNetPictures,
    "occlusion": OcclusionPictures,
    "invariance": InvariancePictures,
}
CLASSES = 3  # DeNet is shown for so many of each probe


def side_by_side(names: Sequence[str], networks: Sequence[nn.Module], probes: Probes) -> Image.Image:
    """A row for each probe: the image, then Deconvolution of the last convolution layer and DeNet by each network."""
    pictures: dict[str, Tensor] = {}
    for number, network in enumerate(networks, 1):
        traces = record(network, probes.images)
        last = convolution_layers(network)[-1]
        pictures |= {f"{number}: {last}": deconvolution(traces, last), f"{number}: DeNet": denet(traces, probes.targets)}
    key = ", ".join(f"{number} is {name}" for number, name in enumerate(names, 1))
    return _table(["Deconvolution of the last convolution layer and DeNet of the true class", key], probes, pictures)


def of_classes(name: str, network: nn.Module, probes: Probes) -> Image.Image:
    """A row for each probe: the image, then DeNet for the true class and for others, the biases subtracted or not."""
    traces = record(network, probes.images)
    count = len(probes.class_names)
    pictures, heading = {}, f"{name}: DeNet of the true class and of others"
    for subtract_bias, words in ((True, ""), (False, ", no bias")):
        made = []
        for number in range(CLASSES):
            classes = (probes.targets + number * count // CLASSES) % count
            made.append(denet(traces, classes, subtract_bias=subtract_bias))
            pictures[("true class" if number == 0 else f"{number * count // CLASSES} classes on") + words] = made[-1]
        heading += f"; cosine between them{words}: {float(PairwiseCosine()(torch.stack(made, 1))):.2f}"
    return _table([heading], probes, pictures)


def _table(heading: list[str], probes: Probes, pictures: dict[str, Tensor]) -> Image.Image:
    """Pictures (P, 3, H, W) by name, a row for each probe, each on its own scale."""
    rows = []
    for number, name in enumerate(probes.names):
        tiles: list[tuple[str, Pixels]] = [(name.replace("image_", ""), probes.original(number))]
        tiles += [(what, signed_picture(each[number], robust_range(each[number]))) for what, each in pictures.items()]
        rows.append(row_sheet(heading if number == 0 else [], tiles))
    return stack_vertically(rows)


def main() -> None:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--probes", nargs="*", default=[], help="files or classes [default: the data set's own eight]")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    words = parser.parse_args()
    networks = []
    for run in words.runs:
        network, data = load_run(run)
        networks.append(network)
        probes = build_probes(data, words.probes)
        epoch = int(read_rows(run / "metrics.csv")[-1]["epoch"])
        for kind, callback in KINDS.items():
            callback(words.out / run.name / kind, probes).render(network, epoch)
        with torch.inference_mode():
            of_classes(run.name, network, probes).save(words.out / run.name / "classes.jpg", quality=88)
        print(f"Written: {words.out / run.name}")
    with torch.inference_mode():
        side_by_side([run.name for run in words.runs], networks, probes).save(words.out / "categories.jpg", quality=88)
    print(f"Written: {words.out / 'categories.jpg'}")


if __name__ == "__main__":
    main()
