"""Metrics of whether the network depends on what a projection shows, from the curves of ``methods.sanity_checks``."""

from torch import Tensor

from viz_callbacks.metrics.per_image import PerImageMetric


class Deletion(PerImageMetric):
    """The true class's mean probability as pixels are taken away, those with the most energy in the projection first.

    Definition: the area under ``deletion_curve``, whose width is 1. Range 0 to 1, lower is better. Source: Petsiuk et al. 2018
    (RISE, arXiv 1806.07421).
    """

    higher_is_better = False

    def update(self, curves: Tensor) -> None:
        """Measure ``curves`` (N, points)."""
        self.add(auc(curves))


class Insertion(PerImageMetric):
    """The true class's mean probability as pixels are brought into the blurred image, in the same order.

    Definition: the area under ``insertion_curve``, whose width is 1. Range 0 to 1, higher is better. Source: as ``Deletion``.
    """

    higher_is_better = True

    def update(self, curves: Tensor) -> None:
        """Measure ``curves`` (N, points)."""
        self.add(auc(curves))


def auc(curves: Tensor) -> Tensor:
    """Return the area (N,) under curves (N, points) over equal steps from 0 to 1, by the trapezoidal rule."""
    return (curves[:, 1:] + curves[:, :-1]).mean(1) / 2
