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

Kind = Literal["translation", "scale", "rotation"]


@dataclass(frozen=True)
class Invariance:
    """distances: by layer (N, amounts), Euclidean, to the features of the untransformed image. probability: (N, amounts)."""

    distances: dict[str, Tensor]
    probability: Tensor


def invariance(
    network: nn.Module, images: Tensor, targets: Tensor, layers: Sequence[str], kind: Kind, amounts: Sequence[float]
) -> Invariance:
    """Transform ``images`` (N, C, H, W) by each amount; follow the outputs of ``layers`` and the true class's probability.

    ``targets``: (N,). ``layers``: names of layers of any type. Raises ValueError for a layer that doesn't exist.
    """
    whole = {trace.name: trace.output for trace in record(network, images)}
    if missing := [layer for layer in layers if layer not in whole]:
        raise ValueError(f"There is no layer {missing[0]!r}; the network has {', '.join(whole)}.")
    distances: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    probability = []
    for amount in amounts:
        traces = {trace.name: trace.output for trace in record(network, transformed(images, kind, amount))}
        for layer in layers:
            distances[layer].append((traces[layer] - whole[layer]).flatten(1).norm(dim=1))
        answers = list(traces.values())[-1].float().softmax(1)
        probability.append(answers.gather(1, targets[:, None])[:, 0])
    return Invariance({layer: torch.stack(each, 1) for layer, each in distances.items()}, torch.stack(probability, 1))


def transformed(images: Tensor, kind: Kind, amount: float) -> Tensor:
    """Images (N, C, H, W) shifted down by ``amount`` pixels, enlarged ``amount`` times or turned by ``amount`` degrees.

    About the centre, by bilinear interpolation; a turn goes counter-clockwise. What comes into view from outside of the image
    is 0, the data's mean where images are normalised.
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
