"""The report's three claims as comparisons of metrics, image by image, with uncertainties.

For one training, an interval is the mean over images plus and minus 1.96 standard errors; it says nothing of what another
training would give. For several, each with its own seed and its own images, it is the mean of their means plus and minus
Student's t times the standard error of these means, so that it covers both what other seeds and other images would give.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: over the images that have a value, or of several trainings' such means.
        low: the interval's lower end, NaN for a single image.
        high: its upper end.
        images: how many have a value, in all trainings.
        trainings: how many.
    """

    mean: float
    low: float
    high: float
    images: int
    trainings: int

    @classmethod
    def of(cls, values: Sequence[Tensor]) -> "Interval":
        """Return the interval of each training's values (N,) of its images, NaN left out."""
        known = [each[~each.isnan()].double() for each in values]
        if len(known) == 1:
            sample, quantile = known[0], 1.96
        else:
            sample = torch.stack([each.mean() for each in known])
            quantile = float(stats.t.ppf(0.975, len(sample) - 1))
        mean = float(sample.mean())
        error = quantile * float(sample.std()) / math.sqrt(len(sample)) if len(sample) > 1 else math.nan
        return cls(mean, mean - error, mean + error, sum(map(len, known)), len(known))

    @classmethod
    def of_logarithms(cls, values: Sequence[Tensor]) -> "Interval":
        """Return the geometric mean and its interval, of values as for ``of``."""
        interval = cls.of([each.log() for each in values])
        mean, low, high = (math.exp(end) for end in (interval.mean, interval.low, interval.high))
        return cls(mean, low, high, interval.images, interval.trainings)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})" if self.images else "no value"


@dataclass(frozen=True)
class Comparison:
    """One of a claim's comparisons.

    Attributes:
        claim: in the report's words, about.
        what: the metric that is compared.
        difference: of two values, image by image; the claim wants it above 0.
    """

    claim: str
    what: str
    difference: Interval

    @property
    def verdict(self) -> str:
        """Whether the interval lies above, below or across 0."""
        return "holds" if self.difference.low > 0 else "does not hold" if self.difference.high < 0 else "not decided"


def compare_claims(
    alexnet: Sequence[Mapping[str, Tensor]], zfnet: Sequence[Mapping[str, Tensor]], projections: list[str]
) -> list[Comparison]:
    """Return the report's claims, each as differences that it wants to be above 0. Grids are compared by their logarithms.

    Args:
        alexnet: for each training, metrics by name, those of ``ProjectionMetrics``, one value for each image, (N,).
        zfnet: the same of the other network's trainings, one by one on the same images.
        projections: the names of those to compare: the convolution layers, first to last, then ``denet``.
    """
    found = []
    for projection in projections:
        for period in (4, 2):
            name = f"grid{period}/{projection}"
            grids = [[metrics[name].log() for metrics in network] for network in (alexnet, zfnet)]
            found.append(_compare("AlexNet shows more blocks", f"{name}, logarithm", *grids))
    for projection in projections:
        name = f"detail/{projection}"
        details = [[metrics[name] for metrics in network] for network in (zfnet, alexnet)]
        found.append(_compare("ZFNet captures more detail", name, *details))
    last = projections[-2]
    for label, network in (("AlexNet", alexnet), ("ZFNet", zfnet)):
        for metric, sign in (("detail", 1), ("inside", 1), ("pointing", 1), ("insertion", 1), ("deletion", -1)):
            both = [[sign * metrics[f"{metric}/{projection}"] for metrics in network] for projection in ("denet", last)]
            what = f"{label}: {metric}, " + ("less" if sign < 0 else "more")
            found.append(_compare(f"DeNet captures more than Deconvolution of {last}", what, *both))
    return found


def _compare(claim: str, what: str, more: Sequence[Tensor], less: Sequence[Tensor]) -> Comparison:
    return Comparison(claim, what, Interval.of([one - other for one, other in zip(more, less, strict=True)]))
