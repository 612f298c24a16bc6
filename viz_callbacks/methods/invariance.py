"""Invariance: how far features move as the image is shifted, enlarged or turned (Zeiler and Fergus, ECCV 2014, figure 5).

A low layer's features change at once, a high layer's hardly, if the network has learnt to see the object whatever its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.forward import record
from viz_callbacks.engine.probabilities import class_probabilities

Transformation = Literal["translation", "scale", "rotation"]


@dataclass(frozen=True)
class Invariance:
    """How a network follows N images that are transformed by M amounts.

    Attributes:
        distances: by layer (N, M), Euclidean, to the features of the untransformed image.
        probability: of the true class, (N, M), 0 to 1.
    """

    distances: dict[str, Tensor]
    probability: Tensor


def invariance(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    layers: Sequence[str],
    kind: Transformation,
    amounts: Sequence[float],
) -> Invariance:
    """Transform images by each amount; follow the outputs of layers and the true class's probability.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 10))
    >>> moved = invariance(network, torch.randn(2, 3, 20, 20), torch.tensor([7, 1]), ["1"], "rotation", [0, 90, 180])
    >>> moved.distances["1"].shape, moved.probability.shape
    (torch.Size([2, 3]), torch.Size([2, 3]))

    Args:
        network: as for ``record``, with a last output (N, number of classes).
        images: (N, C, H, W), as the network takes them.
        targets: the true classes, (N,) of int64.
        layers: names of layers of any type.
        kind: what to do with the images.
        amounts: how much, in the units of ``transform``.

    Raises:
        ValueError: a layer or the transformation doesn't exist.
    """
    original = {trace.name: trace.output for trace in record(network, images, keep=layers)}
    distances: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    probability = []
    for amount in amounts:
        traces = record(network, transform(images, kind, amount), keep=layers)
        outputs = {trace.name: trace.output for trace in traces}
        for layer in layers:
            distances[layer].append((outputs[layer] - original[layer]).flatten(1).norm(dim=1))
        probabilities = class_probabilities(traces[-1].layer, traces[-1].output)
        probability.append(probabilities.gather(1, targets[:, None])[:, 0])
    return Invariance({layer: torch.stack(each, 1) for layer, each in distances.items()}, torch.stack(probability, 1))


def transform(images: Tensor, kind: Transformation, amount: float) -> Tensor:
    """Return images (N, C, H, W) shifted down by ``amount`` pixels, enlarged ``amount`` times or turned by ``amount`` degrees.

    About the centre, by bilinear interpolation; a turn goes counter-clockwise. What comes into view from outside of the image
    is 0, the data's mean where images are normalised.

    >>> transform(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), "translation", 1).tolist()
    [[[[0.0, 0.0], [1.0, 2.0]]]]

    Raises:
        ValueError: there is no such transformation.
    """
    height, width = images.shape[2:]
    match kind:
        case "translation":
            rows = [[1, 0, 0], [0, 1, -2 * amount / height]]
        case "scale":
            rows = [[1 / amount, 0, 0], [0, 1 / amount, 0]]
        case "rotation":
            cosine, sine = math.cos(math.radians(amount)), math.sin(math.radians(amount))
            rows = [[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]]
        case _:
            raise ValueError(f"no transformation {kind!r}: translation, scale or rotation")
    matrix = torch.tensor(rows, dtype=images.dtype, device=images.device).expand(len(images), 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
