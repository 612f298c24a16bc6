"""What predictions say: how sure an accuracy is, whether two networks differ, and how well probabilities fit.

Two networks are compared on the same images. Of these only the discordant ones count, where one is right and the other wrong:
``b`` where only the first is right, ``c`` where only the second is. McNemar's test asks whether a fair coin would have divided
them so; its mid-p form keeps its level without being too cautious (Fagerland, Lydersen, Laake 2013, BMC Medical Research
Methodology 13:91). Images of one group (the same photograph twice) are no independent evidence, so the interval of the
difference comes from a bootstrap that draws whole groups.

Two kinds of network are compared over several trainings of each, by Student's t of the differences that these show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8
DRAWS = 10_000
BINS = 15


@dataclass(frozen=True)
class Interval:
    """A share or a difference of shares, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedComparison:
    """A second network against a first one, on the same images.

    Attributes:
        only_first: images that only the first one has right.
        only_second: images that only the second one has right.
        images: all of them.
        p_value: McNemar's mid-p.
        difference: the second accuracy minus the first, its interval by bootstrap over groups.
        detectable: the smallest difference that would have been found in four of five such tests.
    """

    only_first: int
    only_second: int
    images: int
    p_value: float
    difference: Interval
    detectable: float

    @property
    def verdict(self) -> str:
        """Better, worse or not decided, of the second network; decided only where test and interval agree."""
        return judge(self.difference) if self.p_value < LEVEL else "not decided"


@dataclass(frozen=True)
class SeedComparison:
    """A second kind of network against a first one, over pairs of trainings.

    Attributes:
        difference: the mean of the second's accuracy minus the first's.
        detectable: about the smallest difference that would have been found in four of five such tests.
    """

    difference: Interval
    detectable: float

    @property
    def verdict(self) -> str:
        """Better, worse or not decided, of the second kind."""
        return judge(self.difference)


def judge(difference: Interval) -> str:
    """Return whether the second is better or worse than the first, or not decided where 0 is in the interval."""
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "not decided"


def wilson(successes: int, trials: int) -> Interval:
    """Return a share and Wilson's score interval, which also fits few trials and shares near 0 or 1."""
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    z = float(stats.norm.ppf(1 - LEVEL / 2))
    share = successes / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def mcnemar_mid_p(b: int, c: int) -> float:
    """Return the two-sided mid-p value of ``b`` against ``c`` discordant images; 1 where there are none.

    >>> mcnemar_mid_p(0, 3)
    0.125
    """
    if b + c == 0:
        return 1.0
    fewer = min(b, c)
    return float(min(1.0, 2 * stats.binom.cdf(fewer, b + c, 0.5) - stats.binom.pmf(fewer, b + c, 0.5)))


def undecided_from(gain: int) -> int:
    """Return from how many discordant images on a difference of ``gain`` images is not decided.

    >>> undecided_from(11)
    33
    """
    discordant = abs(gain)
    while discordant == 0 or mcnemar_mid_p((discordant - abs(gain)) // 2, (discordant + abs(gain)) // 2) < LEVEL:
        discordant += 2
    return discordant


def compare_counts(only_first: int, only_second: int, images: int) -> PairedComparison:
    """Compare two networks of which only the discordant images are known; the interval is the normal one of paired shares."""
    value = (only_second - only_first) / images
    half = float(stats.norm.ppf(1 - LEVEL / 2)) * math.sqrt(((only_first + only_second) / images - value**2) / images)
    difference = Interval(value, value - half, value + half)
    p_value = mcnemar_mid_p(only_first, only_second)
    return PairedComparison(only_first, only_second, images, p_value, difference, _detectable(only_first + only_second, images))


def _detectable(discordant: int, images: int) -> float:
    return float(stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)) * math.sqrt(discordant) / images


def compare_paired(first: Bools, second: Bools, groups: NDArray[np.str_]) -> PairedComparison:
    """Compare which images (N,) two networks have right; images of one group are drawn together."""
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    images = len(first)
    interval = _bootstrap(first, second, groups)
    return PairedComparison(b, c, images, mcnemar_mid_p(b, c), interval, _detectable(b + c, images))


def _bootstrap(first: Bools, second: Bools, groups: NDArray[np.str_]) -> Interval:
    """Return the difference of the accuracies with its percentile interval, drawing groups with replacement."""
    _, of_group = np.unique(groups, return_inverse=True)
    gains = np.bincount(of_group, second.astype(float) - first.astype(float))
    sizes = np.bincount(of_group).astype(float)
    rng = np.random.default_rng(0)  # the same page from the same runs
    differences = np.empty(DRAWS)
    for start in range(0, DRAWS, 1000):  # a thousand at a time need 20 MB
        times = rng.multinomial(len(gains), np.full(len(gains), 1 / len(gains)), 1000)
        differences[start : start + 1000] = (times @ gains) / (times @ sizes)
    low, high = np.quantile(differences, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(second.mean() - first.mean()), float(low), float(high))


def compare_over_seeds(differences: Sequence[float], test_share: float = 0.0) -> SeedComparison:
    """Compare two kinds of network by the differences of J pairs of trainings, J > 1, with Student's t.

    Trainings on splits of the same images share most of these, so their differences spread less than those of new images would.
    The variance of the mean is then not s^2 / J but s^2 (1/J + test/train), Nadeau and Bengio 2003, Machine Learning 52:239.

    Args:
        differences: of accuracies, the second's minus the first's.
        test_share: test images for each training image where every pair has a split of its own, 0 where all have the same.
    """
    pairs = len(differences)
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) * math.sqrt(1 / pairs + test_share)
    quantile, power = (float(stats.t.ppf(each, pairs - 1)) for each in (1 - LEVEL / 2, POWER))
    return SeedComparison(Interval(mean, mean - quantile * error, mean + quantile * error), (quantile + power) * error)


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted for their number by Holm's step-down method (1979)."""
    order = np.argsort(p_values)
    raised = np.maximum.accumulate(p_values[order] * (len(p_values) - np.arange(len(p_values))))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, raised)
    return adjusted


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence: their number, mean confidence and accuracy with interval."""

    images: int
    confidence: float
    accuracy: Interval


def reliability(confidence: Floats, right: Bools) -> list[Bin]:
    """Sort images into 15 equally wide bins of confidence; empty ones are left out (Guo et al. 2017, arXiv 1706.04599)."""
    number = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    members = [number == each for each in range(BINS)]
    return [
        Bin(int(inside.sum()), float(confidence[inside].mean()), wilson(int(right[inside].sum()), int(inside.sum())))
        for inside in members
        if inside.any()
    ]


def calibration_error(confidence: Floats, right: Bools) -> float:
    """Return the expected calibration error: the mean distance of accuracy and confidence over the bins, by images."""
    bins = reliability(confidence, right)
    return sum(each.images * abs(each.accuracy.value - each.confidence) for each in bins) / len(right)


def calibration_error_by_chance(confidence: Floats, draws: int = 200) -> tuple[float, float]:
    """Return the mean and the 95th percentile of the error that a perfectly calibrated network of this confidence would show.

    The estimate is biased upwards: few images in a bin never match their confidence exactly (Roelofs et al. 2022, arXiv
    2012.08668).
    """
    rng = np.random.default_rng(0)
    errors = [calibration_error(confidence, rng.random(len(confidence)) < confidence) for _ in range(draws)]
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))
