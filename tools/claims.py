"""The report's three claims as comparisons of metrics, image by image, with uncertainties.

An interval is the mean over images plus and minus 1.96 standard errors. It says nothing of what another training would give.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A mean over images with its 95 % interval.

    Attributes:
        mean: of the images that have a value.
        low: the interval's lower end, NaN for a single image.
        high: its upper end.
        images: how many have a value.
    """

    mean: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, values: Tensor) -> "Interval":
        """Return the interval of values (N,) of images, NaN left out."""
        known = values[~values.isnan()].double()
        error = 1.96 * float(known.std()) / math.sqrt(len(known)) if len(known) > 1 else math.nan
        return cls(float(known.mean()), float(known.mean()) - error, float(known.mean()) + error, len(known))

    @classmethod
    def of_logarithms(cls, values: Tensor) -> "Interval":
        """Return the geometric mean of values (N,) and its interval."""
        interval = cls.of(values.log())
        return cls(math.exp(interval.mean), math.exp(interval.low), math.exp(interval.high), interval.images)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


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


def compare_claims(alexnet: Mapping[str, Tensor], zfnet: Mapping[str, Tensor], projections: list[str]) -> list[Comparison]:
    """Return the report's claims, each as differences that it wants to be above 0. Grids are compared by their logarithms.

    Args:
        alexnet: metrics by name, those of ``ProjectionMetrics``, one value for each image, (N,).
        zfnet: the same of the other network on the same images.
        projections: the names of those to compare: the convolution layers, first to last, then ``denet``.
    """
    found = []
    for projection in projections:
        for period in (4, 2):
            grids = [metrics[f"grid{period}/{projection}"].log() for metrics in (alexnet, zfnet)]
            found.append(_compare("AlexNet shows more blocks", f"grid{period}/{projection}, logarithm", *grids))
    for projection in projections:
        name = f"detail/{projection}"
        found.append(_compare("ZFNet captures more detail", name, zfnet[name], alexnet[name]))
    last = projections[-2]
    for network, metrics in (("AlexNet", alexnet), ("ZFNet", zfnet)):
        for metric, sign in (("detail", 1), ("inside", 1), ("pointing", 1), ("insertion", 1), ("deletion", -1)):
            both = [sign * metrics[f"{metric}/{projection}"] for projection in ("denet", last)]
            what = f"{network}: {metric}, " + ("less" if sign < 0 else "more")
            found.append(_compare(f"DeNet captures more than Deconvolution of {last}", what, *both))
    return found


def _compare(claim: str, what: str, more: Tensor, less: Tensor) -> Comparison:
    return Comparison(claim, what, Interval.of(more - less))
