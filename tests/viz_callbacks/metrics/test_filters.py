"""Metrics of filters on hand-made ones whose values are known, and on noise."""

import math

import pytest
import torch

from viz_callbacks.metrics.filters import EffectiveRank, FilterLearning, LowFrequencyShare


def test_learning_is_one_minus_the_median_cosine_whatever_the_length() -> None:
    start = torch.zeros(5, 1, 1, 2)
    start[:, 0, 0, 0] = 1
    angles = torch.tensor([0.0, 30.0, 60.0, 90.0, 180.0]).deg2rad()
    filters = 7 * torch.stack([angles.cos(), angles.sin()], 1).view(5, 1, 1, 2)
    metric = FilterLearning()
    metric.update(filters, start)
    assert float(metric.compute()) == pytest.approx(1 - math.cos(math.radians(60)))
    assert float(FilterLearning()(start, start)) == 0
    assert math.isnan(float(FilterLearning().compute()))


def test_a_filter_that_vanished_counts_as_nothing_left_of_the_start() -> None:
    start = torch.ones(1, 3, 2, 2)
    assert float(FilterLearning()(torch.zeros_like(start), start)) == 1


def test_independent_noise_has_nothing_in_common_with_the_start() -> None:
    torch.manual_seed(0)
    assert float(FilterLearning()(torch.randn(64, 96, 5, 5), torch.randn(64, 96, 5, 5))) == pytest.approx(1, abs=0.02)


def test_low_frequencies_are_counted_by_hand_in_the_plain_definition() -> None:
    torch.manual_seed(1)
    filters = torch.randn(3, 2, 7, 5)
    shares = []
    for each in filters:
        low = total = 0.0
        for u in range(7):
            for v in range(5):
                frequency = (u - 7 * (u > 3)) / 7, (v - 5 * (v > 2)) / 5
                for channel in each:
                    value = sum(
                        complex(channel[y, x]) * complex(math.cos(phase), -math.sin(phase))
                        for y in range(7) for x in range(5)
                        for phase in [2 * math.pi * (u * y / 7 + v * x / 5)]
                    )  # fmt: skip
                    total += abs(value) ** 2
                    low += abs(value) ** 2 * (math.hypot(*frequency) < 0.25)
        shares.append(low / total)
    assert float(LowFrequencyShare()(filters)) == pytest.approx(sum(shares) / 3, abs=1e-6)


def test_flat_and_checkered_filters_are_the_extremes_and_noise_comes_to_chance() -> None:
    flat = torch.ones(1, 3, 11, 11)
    rows = torch.arange(8)
    checkered = ((rows[:, None] + rows) % 2 * 2.0 - 1).expand(1, 3, 8, 8)
    assert float(LowFrequencyShare()(flat)) == pytest.approx(1)
    assert float(LowFrequencyShare()(checkered)) == pytest.approx(0, abs=1e-12)
    torch.manual_seed(2)
    noise = torch.randn(500, 3, 11, 11)
    assert LowFrequencyShare.chance(noise) == pytest.approx(21 / 121)
    assert float(LowFrequencyShare()(noise)) == pytest.approx(21 / 121, abs=0.01)
    assert float(LowFrequencyShare()(torch.cat([flat, torch.zeros_like(flat)]))) == pytest.approx(1), "0 has no frequencies"


def test_effective_rank_counts_directions() -> None:
    alike = torch.arange(1, 5.0).view(4, 1, 1, 1) * torch.ones(4, 2, 3, 3)
    assert float(EffectiveRank()(alike)) == pytest.approx(1, abs=1e-4)
    assert float(EffectiveRank()(torch.eye(6).view(6, 6, 1, 1) * 3)) == pytest.approx(6, abs=1e-4)
    two_to_one = torch.diag(torch.tensor([2.0, 1.0])).view(2, 2, 1, 1)
    expected = math.exp(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))
    assert float(EffectiveRank()(two_to_one)) == pytest.approx(expected, abs=1e-5)
    assert math.isnan(float(EffectiveRank().compute()))


@pytest.mark.parametrize("shape", [(12, 3, 2, 2), (5, 4, 3, 3), (40, 2, 3, 3)])
def test_effective_rank_is_that_of_the_singular_values(shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    filters = torch.randn(shape, dtype=torch.float64)
    values = torch.linalg.svdvals(filters.flatten(1))
    shares = values / values.sum()
    assert float(EffectiveRank()(filters)) == pytest.approx(float((-shares * shares.log()).sum().exp()), rel=1e-9)
