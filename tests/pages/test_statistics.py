"""The statistics against plainer versions of themselves: enumeration, SciPy, the definitions written out."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from pages.statistics import (
    calibration_error,
    calibration_error_by_chance,
    compare_over_seeds,
    compare_paired,
    holm,
    mcnemar_mid_p,
    reliability,
    wilson,
)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 3), (2, 2), (1, 6), (7, 4)])
def test_mid_p_counts_the_coins_that_fall_as_unevenly_and_half_of_those_as_unevenly_as_seen(b: int, c: int) -> None:
    seen = abs(b - c)
    falls = [abs(2 * sum(coins) - b - c) for coins in itertools.product((0, 1), repeat=b + c)]
    expected = (sum(fall > seen for fall in falls) + 0.5 * sum(fall == seen for fall in falls)) / len(falls)
    if b == c:
        expected = 1.0  # by definition: nothing speaks against the coin
    assert mcnemar_mid_p(b, c) == pytest.approx(expected)


@pytest.mark.parametrize(("successes", "trials"), [(0, 6), (3, 6), (1285, 1735), (160, 160)])
def test_wilsons_interval_is_scipys(successes: int, trials: int) -> None:
    found, expected = wilson(successes, trials), stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_reports_own_difference_is_not_decided() -> None:
    """74.06 against 74.69 % of 1,735 images are 11 images; let 12 % of the images be discordant."""
    first, second = np.zeros(1735, bool), np.zeros(1735, bool)
    first[:1285] = True
    second[99 : 1285 + 110] = True  # only the first has 99 right, only the second 110
    found = compare_paired(first, second, np.arange(1735).astype(str))
    assert (found.only_first, found.only_second) == (99, 110)
    assert found.verdict == "not decided"
    assert found.difference.value == pytest.approx(11 / 1735)
    normal = 1.96 * math.sqrt(209 / 1735 - (11 / 1735) ** 2) / math.sqrt(1735)
    assert found.difference.high - found.difference.value == pytest.approx(normal, rel=0.05)
    assert found.detectable == pytest.approx(2.80 * math.sqrt(209) / 1735, rel=0.01)


def test_a_clear_difference_is_decided_in_its_direction() -> None:
    bad, good = np.arange(200) < 100, np.arange(200) < 150
    alone = np.arange(200).astype(str)
    assert compare_paired(bad, good, alone).verdict == "better"
    assert compare_paired(good, bad, alone).verdict == "worse"


def test_images_twice_are_no_more_evidence_than_once() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(300) < 0.7, rng.random(300) < 0.7
    alone = compare_paired(first, second, np.arange(300).astype(str)).difference
    twice = compare_paired(first.repeat(2), second.repeat(2), np.arange(300).repeat(2).astype(str)).difference
    assert twice.high - twice.low == pytest.approx(alone.high - alone.low, rel=0.03)


def test_several_trainings_give_students_interval_as_scipy_does() -> None:
    differences = np.random.default_rng(0).normal(0.01, 0.02, 7)
    found, expected = compare_over_seeds(differences.tolist()), stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high))


def test_trainings_that_share_images_give_a_wider_one() -> None:
    """By hand: 1, 2 and 6 points have mean 3 and variance 7; t for two degrees of freedom is 4.303, its 80 % quantile 1.061."""
    found = compare_over_seeds([0.01, 0.02, 0.06], test_share=0.25)
    error = math.sqrt(7 * (1 / 3 + 1 / 4))
    assert 100 * found.difference.value == pytest.approx(3)
    assert 100 * found.difference.high == pytest.approx(3 + 4.303 * error, rel=1e-3)
    assert 100 * found.detectable == pytest.approx((4.303 + 1.061) * error, rel=1e-3)
    assert found.verdict == "not decided"


def test_differences_of_one_sign_and_size_are_decided_in_their_direction() -> None:
    assert compare_over_seeds([0.02, 0.021, 0.019]).verdict == "better"
    assert compare_over_seeds([-0.02, -0.021, -0.019]).verdict == "worse"


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.5])).tolist() == pytest.approx([0.04, 0.09, 0.09, 0.5])


def test_calibration_by_hand() -> None:
    """Two bins: three images at 0.6 of which one is right, one at 1.0 that is right."""
    confidence, right = np.array([0.6, 0.6, 0.6, 1.0]), np.array([True, False, False, True])
    assert [(each.images, each.accuracy.value) for each in reliability(confidence, right)] == [(3, 1 / 3), (1, 1.0)]
    assert calibration_error(confidence, right) == pytest.approx(0.75 * (0.6 - 1 / 3))


def test_even_a_calibrated_network_shows_some_error() -> None:
    mean, limit = calibration_error_by_chance(np.random.default_rng(0).uniform(0.2, 1, 1735))
    assert 0.01 < mean < limit < 0.06
