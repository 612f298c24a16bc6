"""Metrics of where a projection is: on the object or beside it.

A projection R of shape (C, H, W) has the energy e(q) = sum over c of R[c, q]^2 at the pixel q.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from viz_callbacks.metrics.per_image import PerImageMetric


class EnergyPointingGame(PerImageMetric):
    """Share of a projection's energy that lies on the object.

    Definition: sum of e over the mask / sum of e over the image. Range 0 to 1, higher is better; chance, for energy that
    knows nothing of the object, is the mask's share of the area (``MaskArea``). NaN for a projection that is 0 everywhere, and
    for a mask that is empty since it is not known. Source: the energy-based pointing game of Wang et al. 2020 (Score-CAM, arXiv
    1910.01279), with energy for saliency.
    """

    higher_is_better = True

    def update(self, projections: Tensor, masks: Tensor) -> None:
        """Measure a batch.

        Args:
            projections: (N, C, H, W).
            masks: (N, H, W) of bool, true on the object.
        """
        energy = _energy(projections)
        on_object = (energy * masks).sum((1, 2)) / energy.sum((1, 2))
        self.add(on_object.masked_fill(_is_empty(masks), torch.nan))


class MaskArea(PerImageMetric):
    """The object's share of the image's area: what ``EnergyPointingGame`` and ``PointingGame`` come to by chance, 0 to 1."""

    def update(self, projections: Tensor, masks: Tensor) -> None:
        """Measure a batch as ``EnergyPointingGame`` does; images whose projection is 0 everywhere are left out here too."""
        is_zero = projections.flatten(1).abs().sum(1) == 0
        self.add(masks.double().mean((1, 2)).masked_fill(is_zero | _is_empty(masks), torch.nan))


class PointingGame(PerImageMetric):
    """How often a projection's strongest pixel lies on the object.

    Definition: 1 where the pixel of the largest e lies on the mask or at most ``tolerance`` pixels from it, else 0; of several
    equally strong pixels the share that does, so that a flat picture is at chance. Range 0 to 1, higher is better; chance is
    ``MaskArea`` where the tolerance is 0. NaN as for ``EnergyPointingGame``, and where e isn't finite everywhere. Source: Zhang
    et al. 2016 (arXiv 1608.00507), who allow 15 pixels.

    Args:
        tolerance: in pixels.
    """

    higher_is_better = True

    def __init__(self, tolerance: int = 0) -> None:
        super().__init__()
        self.tolerance = tolerance

    def update(self, projections: Tensor, masks: Tensor) -> None:
        """Measure a batch as ``EnergyPointingGame`` does."""
        energy = _energy(projections)
        strongest = (energy == energy.amax((1, 2), keepdim=True)).double()
        hits = (strongest * dilate(masks, self.tolerance)).sum((1, 2)) / strongest.sum((1, 2))
        nowhere = (energy.sum((1, 2)) == 0) | ~energy.isfinite().all(2).all(1)
        self.add(hits.masked_fill(nowhere | _is_empty(masks), torch.nan))


def dilate(masks: Tensor, distance: int) -> Tensor:
    """Return ``masks`` (N, H, W) of bool with all pixels that are at most ``distance`` rows and columns from one of theirs."""
    if distance == 0:
        return masks
    return F.max_pool2d(masks[:, None].float(), 2 * distance + 1, 1, distance)[:, 0] > 0


def _energy(projections: Tensor) -> Tensor:
    """Return e (N, H, W) in double precision."""
    return projections.double().square().sum(1)


def _is_empty(masks: Tensor) -> Tensor:
    """Return which masks (N, H, W) are false everywhere, (N,)."""
    return ~masks.flatten(1).any(1)
