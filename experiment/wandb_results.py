"""What W&B gets when a run has been tested: what it got wrong, class by class and image by image, its split and its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from datamodules.datamodule import ImageDataModule
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing.pixels import Pixels, picture_of, robust_range, signed_picture

if TYPE_CHECKING:
    import wandb

MISTAKES, OTHERS = 200, 100
"""Test images in the table, at most. Each is one file, so that a run stays well below the 1,000 files that W&B advises."""

GAP = 4  # white pixels between the pictures of an image

PAIRS = 30  # of classes that are taken for each other, in the chart
BATCH = 8  # as many as there are probes, whose projections have fitted into the memory


@dataclass(frozen=True)
class SeenImage:
    """A test image, what was predicted for it, and what the network saw of it; pictures are (H, W, 3)."""

    file: str
    truth: str
    prediction: str
    probability: float
    image: Pixels
    deconvolution: Pixels
    denet: Pixels


@dataclass(frozen=True)
class Results:
    """What came out of a run.

    accuracies: of each class. confused: how many images of the first class were taken for the second, most frequent first.
    layer: whose Deconvolution the images show. split: the data set's name, and the folder with the files of each part.
    weights: what they are called, and their file; None for those that W&B isn't to keep.
    """

    accuracies: Sequence[tuple[str, float]]
    confused: Sequence[tuple[str, str, int]]
    images: Sequence[SeenImage]
    layer: str
    split: tuple[str, Path]
    weights: tuple[str, Path] | None


def send_results(run: "wandb.Run", verdict: str, results: Results | None) -> None:
    """Send to W&B what came out, in a line, and if it came to a test, in full. Only the mirror's thread calls it.

    It waits for W&B.
    """
    import wandb

    run.notes = verdict
    if results is None:
        return

    classes = wandb.Table(["class", "accuracy"], [list(row) for row in results.accuracies])
    pairs = wandb.Table(["true, predicted", "images"], [[f"{a}, {b}", count] for a, b, count in results.confused])
    content: dict[str, object] = {
        "results/by_class": wandb.plot.bar(classes, "class", "accuracy", "Accuracy of each class on the test images"),
        "results/confused": wandb.plot.bar(pairs, "true, predicted", "images", "Test images taken for another class"),
    }
    if results.images:
        pictures = f"image, Deconvolution of {results.layer}, DeNet"
        columns: list[str | int] = [pictures, "truth", "prediction", "probability", "right", "file"]
        rows = [
            [wandb.Image(Image.fromarray(side_by_side(each)), file_type="jpg"), each.truth, each.prediction, each.probability,
             each.truth == each.prediction, each.file]
            for each in results.images
        ]  # fmt: skip
        content["results/test_images"] = wandb.Table(columns, rows)
    run.log(content)
    name, folder = results.split
    split = wandb.Artifact(f"{name}-split", "dataset", description="the files of each part")
    for file in sorted(folder.glob("*.txt")):
        split.add_file(str(file), policy="immutable", skip_cache=True)
    if results.weights:
        alias, file = results.weights
        weights = wandb.Artifact(f"model-{run.id}", "model", description=verdict)
        weights.add_file(str(file), skip_cache=True)  # a copy, as the run may not keep the file
        run.log_artifact(weights, aliases=["latest", alias])
    if run.offline:  # W&B refuses to record there what a run has used
        run.log_artifact(split)
    else:
        run.use_artifact(split)


def side_by_side(image: SeenImage) -> Pixels:
    """Return a test image and its projections (H, 3 W + 2 GAP, 3): one cell of the table, so that they stay side by side.

    In columns of their own they would be scaled one by one, and stepped through one by one where rows are grouped.
    """
    gap = np.full((len(image.image), GAP, 3), 255, np.uint8)
    return np.concatenate([image.image, gap, image.deconvolution, gap, image.denet], axis=1)


def class_accuracies(matrix: Tensor, class_names: Sequence[str]) -> list[tuple[str, float]]:
    """Return the accuracy of each class that has images, worst first, from a confusion matrix (K, K) with a row for each."""
    counts, right = matrix.sum(1).tolist(), matrix.diagonal().tolist()
    found = [(name, hits / count) for name, hits, count in zip(class_names, right, counts, strict=True) if count]
    return sorted(found, key=lambda entry: entry[1])


def confused_pairs(matrix: Tensor, class_names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return which classes are taken for which, and how often, most frequent first, from a confusion matrix (K, K)."""
    found = [(class_names[i], class_names[j], int(matrix[i, j])) for i, j in matrix.nonzero().tolist() if i != j]
    return sorted(found, key=lambda entry: -entry[2])[:PAIRS]


def look_at_test_images(
    network: nn.Module, data: ImageDataModule, predictions: Tensor, mistakes: int = MISTAKES, others: int = OTHERS
) -> tuple[list[SeenImage], str]:
    """Return test images with Deconvolution of the last layer and DeNet of the predicted class, and that layer's name.

    Args:
        network: that was tested.
        data: what it was tested on.
        predictions: (N, 3), as ``ImagePredictions`` has them.
        mistakes: so many of those that are wrong at most, the surest first.
        others: so many of the rest at most, evenly spaced.
    """
    truth = torch.as_tensor(data.targets[data.split.test])
    wrong = (predictions[:, 0].cpu().long() != truth).numpy()
    found, layer = list[SeenImage](), ""
    chosen = choose(wrong, predictions[:, 1].cpu().numpy(), mistakes, others)
    for start in range(0, len(chosen), BATCH):
        rows = chosen[start : start + BATCH]
        numbers, predicted = data.split.test[rows], predictions[rows, 0].long()
        pixels = data.images(numbers)
        with torch.inference_mode():
            snapshot = ProbeSnapshot(network, data.normalise(pixels), predicted)
            layer = snapshot.layers[-1]
            projections = zip(snapshot.deconvolution(layer), snapshot.denet(snapshot.targets), strict=True)
            for row, number, image, (deconvolution, denet) in zip(rows, numbers, pixels, projections, strict=True):
                found.append(
                    SeenImage(
                        data.files[number],
                        data.class_names[data.targets[number]],
                        data.class_names[int(predictions[row, 0])],
                        round(float(predictions[row, 1]), 4),
                        picture_of(image),
                        signed_picture(deconvolution, robust_range(deconvolution)),
                        signed_picture(denet, robust_range(denet)),
                    )
                )
    return found, layer


def choose(wrong: NDArray[np.bool_], confidence: NDArray[np.floating], mistakes: int, others: int) -> list[int]:
    """Return rows (N,) of wrong predictions, the surest first, then evenly spaced rows of right ones; so many at most.

    >>> choose(np.array([False, True, False, True, False]), np.array([0.9, 0.3, 0.9, 0.8, 0.9]), mistakes=9, others=2)
    [3, 1, 0, 4]
    """
    surest = sorted(np.flatnonzero(wrong).tolist(), key=lambda row: -confidence[row])[:mistakes]
    right = np.flatnonzero(~wrong)
    spaced = np.linspace(0, len(right) - 1, min(others, len(right))).round().astype(int)
    return [*surest, *right[spaced].tolist()]
