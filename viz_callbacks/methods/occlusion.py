"""Occlusion: how a network's prediction changes as a grey square slides over the image.

If the probability of the true class falls where the object is covered, the network looks at the object and not at what is
around it. Zeiler and Fergus (ECCV 2014, section 4.2 and figure 7), who state neither the square's side nor its stride; both are
the caller's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.probabilities import class_probabilities


@dataclass(frozen=True)
class Unoccluded:
    """What the network says of the whole image.

    Attributes:
        probability: of the true class, 0 to 1.
        predicted: the most probable class.
        activation: the sum over its places of the feature map for which that is largest.
    """

    probability: float
    predicted: int
    activation: float


@dataclass(frozen=True)
class Occlusion:
    """What the network says of one image, for each place of the square, (rows, columns).

    Attributes:
        probability: of the true class, 0 to 1.
        predicted: the most probable class, int64.
        activation: the sum over its places of the feature map that is strongest on the whole image.
        map_index: that map's number, from 0.
        unoccluded: the same of the whole image.
        tops: the square's first row at each row of places, in pixels.
        lefts: the square's first column at each column of places, in pixels.
    """

    probability: Tensor
    predicted: Tensor
    activation: Tensor
    map_index: int
    unoccluded: Unoccluded
    tops: list[int]
    lefts: list[int]


def occlusion(
    network: nn.Module,
    image: Tensor,
    target: int,
    layer: str,
    side: int,
    stride: int,
    grey: float = 0.0,
    batch_size: int = 64,
) -> Occlusion:
    """Slide a grey square over an image, and ask the network at each place.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 10))
    >>> covered = occlusion(network, torch.randn(3, 20, 20), target=7, layer="0", side=5, stride=5)
    >>> covered.tops, covered.probability.shape
    ([0, 5, 10, 15], torch.Size([4, 4]))

    Args:
        network: as for ``record``, with a last output (N, number of classes).
        image: (C, H, W), as the network takes it.
        target: the true class.
        layer: the name of a convolution layer, whose strongest map is followed.
        side: of the square, in pixels.
        stride: from place to place, in pixels. The last row and column of places are moved back so that the square stays within
            the image.
        grey: the square's value, in the network's units: 0 is the data's mean where images are normalised.
        batch_size: images that are asked together.

    Raises:
        ValueError: the square is larger than the image, or ``layer`` names no convolution layer.
    """
    if not 0 < side <= min(image.shape[1:]) or stride < 1:
        raise ValueError(f"a square of {side} by a stride of {stride} doesn't fit an image of {tuple(image.shape[1:])} pixels")
    tops, lefts = (_places(length, side, stride) for length in image.shape[1:])
    traces = record(network, image[None])
    sums = feature_maps(traces, layer).sum((2, 3))[0]
    strongest = int(sums.argmax())
    shares = class_probabilities(traces[-1].layer, traces[-1].output)[0]
    unoccluded = Unoccluded(float(shares[target]), int(shares.argmax()), float(sums[strongest]))
    columns = []
    for images in torch.split(torch.cat(list(_occluded(image, tops, lefts, side, grey))), batch_size):
        traces = record(network, images)
        probabilities = class_probabilities(traces[-1].layer, traces[-1].output).float()
        activations = feature_maps(traces, layer)[:, strongest].sum((1, 2)).float()
        columns.append(torch.stack([probabilities[:, target], probabilities.argmax(1).float(), activations]))
    probability, predicted, activation = torch.cat(columns, 1).view(3, len(tops), len(lefts))
    return Occlusion(probability, predicted.long(), activation, strongest, unoccluded, tops, lefts)


def _places(length: int, side: int, stride: int) -> list[int]:
    places = list(range(0, length - side + 1, stride))
    return places if places[-1] == length - side else [*places, length - side]


def _occluded(image: Tensor, tops: list[int], lefts: list[int], side: int, grey: float) -> Iterator[Tensor]:
    """Yield the images of one row of places after another, (places, C, H, W)."""
    for top in tops:
        images = image.repeat(len(lefts), 1, 1, 1)
        for number, left in enumerate(lefts):
            images[number, :, top : top + side, left : left + side] = grey
        yield images
