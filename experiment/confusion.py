"""Which classes are taken for which: the confusion matrix as a file of numbers and as a picture."""

import csv
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor


def save_confusion(matrix: Tensor, class_names: list[str], folder: Path, title: str) -> None:
    """Write ``confusion.csv`` and ``confusion.png`` into ``folder``.

    ``matrix`` (K, K) holds the number of images of class i that were taken for class j. The file lists what is not 0, the
    mistakes first and the most frequent of them on top; the picture shows each row as shares of its class.
    """
    pairs = [(int(matrix[i, j]), int(i), int(j)) for i, j in matrix.nonzero()]
    pairs.sort(key=lambda pair: (pair[1] == pair[2], -pair[0]))
    with (folder / "confusion.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("is", "taken_for", "images"))
        writer.writerows((class_names[i], class_names[j], count) for count, i, j in pairs)
    _picture(matrix, class_names, title).savefig(folder / "confusion.png", dpi=110)


def _picture(matrix: Tensor, class_names: list[str], title: str) -> Figure:
    count = len(class_names)
    side = max(5.0, 0.115 * count + 2)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    image = axes.imshow(shares.cpu().numpy(), cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
    size = 10 if count < 30 else 5
    axes.set_xticks(range(count), class_names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), class_names, fontsize=size)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    axes.set_title(f"{title}: share of each class's test images")
    figure.colorbar(image, ax=axes, shrink=0.5)
    return figure
