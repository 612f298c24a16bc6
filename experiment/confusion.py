"""Which classes are predicted as which: the confusion matrix as a file of numbers and as a picture."""

import csv
import io
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from configs.files import atomic_write, atomic_write_text


def save_confusion(matrix: Tensor, class_names: list[str], folder: Path, title: str) -> None:
    """Write ``confusion.csv`` and ``confusion.png`` into ``folder``.

    ``matrix`` (K, K) holds the number of images of class i that were predicted as class j. The file lists what is not 0, the
    mistakes first and the most frequent of them on top; the picture shows each row as shares of its class.
    """
    pairs = [(int(matrix[i, j]), int(i), int(j)) for i, j in matrix.nonzero()]
    pairs.sort(key=lambda pair: (pair[1] == pair[2], -pair[0]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("true", "predicted", "images"))
    writer.writerows((class_names[i], class_names[j], count) for count, i, j in pairs)
    atomic_write_text(folder / "confusion.csv", text.getvalue())
    with atomic_write(folder / "confusion.png") as file:
        _draw(matrix, class_names, title).savefig(file, format="png", dpi=110)


def _draw(matrix: Tensor, class_names: list[str], title: str) -> Figure:
    count = len(class_names)
    side = max(5.0, 0.115 * count + 2)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    image = axes.imshow(shares.cpu().numpy(), cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
    size = 10 if count < 30 else 5
    axes.set_xticks(range(count), class_names, rotation=90, fontsize=size, parse_math=False)  # names of folders may have a $
    axes.set_yticks(range(count), class_names, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{title}: share of each class's test images", parse_math=False)
    figure.colorbar(image, ax=axes, shrink=0.5)
    return figure
