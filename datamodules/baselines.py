"""What can be told of an image's class without looking at what it shows: the baseline of every accuracy.

The photographs of one class often come from one place, so their size, whether they are grey and the colours of their corners
give the class away. The nearest neighbour in these few numbers is the least that a network must beat.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.datasets import Images
from datamodules.splits import Indices, Split

CORNERS = ((0, 0), (0, -1), (-1, 0), (-1, -1))


def no_content_features(images: Images, sizes: Indices) -> NDArray[np.float32]:
    """Return (N, 15): width, height, greyness and the colours of the four corners, each divided by its standard deviation.

    ``sizes`` (N, 2) are the files' widths and heights in pixels, before they were made square. Greyness is 1 where red, green
    and blue are equal everywhere, else 0.
    """
    rows = []
    for number, (width, height) in enumerate(sizes):
        pixels = images[number]
        grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
        rows.append([width, height, grey, *(value for corner in CORNERS for value in pixels[corner])])
    features = np.array(rows, dtype=np.float32)
    deviation = features.std(0)
    return (features / np.where(deviation > 0, deviation, 1)).astype(np.float32)


def no_content_floor(features: NDArray[np.float32], targets: Indices, split: Split) -> dict[str, float]:
    """Return how well the nearest training image's class predicts the test part.

    Args:
        features: (N, 15) of all images, as ``no_content_features`` gives them.
        targets: (N,) their classes.
        split: the validation part counts as training here.

    Returns:
        ``accuracy`` (top-1) and ``mean_per_class``, as shares from 0 to 1.
    """
    known = np.concatenate([split.train, split.val])
    distances = torch.cdist(torch.from_numpy(features[split.test]), torch.from_numpy(features[known]))
    hits = targets[known][distances.argmin(1).numpy()] == targets[split.test]
    of_class = [hits[targets[split.test] == k].mean() for k in np.unique(targets[split.test])]
    return {"accuracy": float(hits.mean()), "mean_per_class": float(np.mean(of_class))}
