"""How alike two projections are, on cases where the right value is known."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from viz_callbacks.metrics.similarity import (
    CosineDistance,
    EdgeCorrelation,
    PairwiseCosine,
    RankCorrelation,
    edge_strength,
    rank_correlation,
)


def test_pairwise_cosine_is_the_mean_cosine_of_all_pairs() -> None:
    one, other = torch.randn(2, 3, 5, 5).double()
    same = torch.stack([one, 3 * one, one])[None]
    assert float(PairwiseCosine()(same)) == pytest.approx(1)
    three = torch.stack([one, -one, other])[None]
    cosine = float((one * other).sum() / one.norm() / other.norm())
    assert float(PairwiseCosine()(three)) == pytest.approx((-1 + cosine - cosine) / 3, abs=1e-6)
    assert PairwiseCosine()(torch.stack([one, torch.zeros_like(one)])[None]).isnan()


def test_cosine_distance_is_0_for_the_same_1_for_unrelated_2_for_opposite() -> None:
    before = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 0]]).view(4, 1, 1, 2)
    now = torch.tensor([[7.0, 0], [0, 2], [-1, 0], [1, 0]]).view(4, 1, 1, 2)
    measure = CosineDistance()
    measure.update(before, now)
    assert measure.values[0][:3].tolist() == [0, 1, 2]
    assert measure.compute() == 1


def test_edge_strength_of_a_slope_is_its_steepness() -> None:
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    slope = (3 * columns + 4 * rows)[None, None]
    torch.testing.assert_close(edge_strength(slope), torch.full((1, 4, 5), 5.0, dtype=torch.float64))


def test_edge_correlation_is_1_for_the_image_and_falls_with_blur_shift_and_noise() -> None:
    torch.manual_seed(0)
    images = torch.rand(20, 3, 10, 10).repeat_interleave(6, 2).repeat_interleave(6, 3)  # squares of even colour
    assert float(EdgeCorrelation()(-5 * images + 2, images)) == pytest.approx(1)
    shifted = [float(EdgeCorrelation()(images.roll(shift, 3), images)) for shift in (0, 1, 3)]
    assert shifted[0] > 0.99
    assert shifted[0] > shifted[1] + 0.2
    assert abs(float(EdgeCorrelation()(torch.randn(20, 3, 60, 60), images))) < 0.03
    noisy = [float(EdgeCorrelation()(images + amount * torch.randn(20, 3, 60, 60), images)) for amount in (0.1, 0.3, 1)]
    assert noisy == sorted(noisy, reverse=True)
    assert EdgeCorrelation()(torch.ones(1, 3, 60, 60), images[:1]).isnan()


@pytest.mark.parametrize("levels", [4, 10_000])
def test_rank_correlation_is_scipys(levels: int) -> None:
    torch.manual_seed(0)
    one, other = torch.randint(levels, (2, 3, 1, 8, 9)).float()
    expected = [spearmanr(a.square().flatten(), b.square().flatten()).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(rank_correlation(one, other), expected, atol=1e-9)
    torch.testing.assert_close(rank_correlation(one, one + 1), torch.ones(3, dtype=torch.float64))
    assert rank_correlation(one, torch.zeros_like(one)).isnan().all()


def test_rank_correlation_is_a_mean_over_images() -> None:
    one, other = torch.tensor([[[1.0, 2, 3], [1, 2, 3]], [[4, 5, 6], [6, 5, 4]]]).view(2, 2, 1, 1, 3)
    measure = RankCorrelation()
    measure.update(one, other)
    assert measure.values[0].tolist() == pytest.approx([1, -1])
