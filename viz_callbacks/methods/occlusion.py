"""Occlusion: how the network's answer changes as a grey square slides over the image (Zeiler and Fergus, ECCV 2014, figure 7).

If the probability of the true class falls where the object is covered, the network looks at the object and not at what is
around it. The paper states neither the square's side nor its stride; both are the caller's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record


@dataclass(frozen=True)
class Occlusion:
    """What the network says of one image, for each place of the square, all (rows, columns).

    probability: of the true class, 0 to 1. predicted: the most probable class, int64. activation: the sum over its places of
    the feature map that is strongest on the whole image; ``map`` is its number (from 0). The unoccluded image gives ``whole``:
    probability, predicted class and activation. tops, lefts: the square's first row and column, in pixels.
    """

    probability: Tensor
    predicted: Tensor
    activation: Tensor
    map: int
    whole: tuple[float, int, float]
    tops: list[int]
    lefts: list[int]


def occlusion(
    network: nn.Module, image: Tensor, target: int, layer: str, side: int, stride: int, grey: float = 0.0, batch: int = 64
) -> Occlusion:
    """Slide a square of ``side`` pixels and value ``grey`` over ``image`` (C, H, W), as the network takes it, by ``stride``.

    The last row and column of places are moved back so that the square stays within the image. ``grey`` is in the network's
    units: 0 is the data's mean where images are normalised. ``layer`` is a convolution layer. Raises ValueError for a square
    that is larger than the image, and as ``feature_maps`` does.
    """
    if not 0 < side <= min(image.shape[1:]) or stride < 1:
        raise ValueError(f"a square of {side} by a stride of {stride} doesn't fit an image of {tuple(image.shape[1:])} pixels")
    tops, lefts = (_places(length, side, stride) for length in image.shape[1:])
    traces = record(network, image[None])
    sums = feature_maps(traces, layer).sum((2, 3))[0]
    strongest = int(sums.argmax())
    shares = traces[-1].output.float().softmax(1)[0]
    rows = []
    for images in torch.split(torch.cat(list(_occluded(image, tops, lefts, side, grey))), batch):
        traces = record(network, images)
        answers = traces[-1].output.float().softmax(1)
        activations = feature_maps(traces, layer)[:, strongest].sum((1, 2))
        rows.append(torch.stack([answers[:, target], answers.argmax(1).to(answers.dtype), activations.float()]))
    probability, predicted, activation = torch.cat(rows, 1).view(3, len(tops), len(lefts))
    return Occlusion(
        probability,
        predicted.long(),
        activation,
        strongest,
        (float(shares[target]), int(shares.argmax()), float(sums[strongest])),
        tops,
        lefts,
    )


def _places(length: int, side: int, stride: int) -> list[int]:
    places = list(range(0, length - side + 1, stride))
    return places if places[-1] == length - side else [*places, length - side]


def _occluded(image: Tensor, tops: list[int], lefts: list[int], side: int, grey: float) -> Iterator[Tensor]:
    """One row of places at a time, (places, C, H, W)."""
    for top in tops:
        images = image.repeat(len(lefts), 1, 1, 1)
        for number, left in enumerate(lefts):
            images[number, :, top : top + side, left : left + side] = grey
        yield images
