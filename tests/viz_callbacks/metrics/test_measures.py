"""The measures on cases where the right value is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from viz_callbacks.metrics.measures import (
    AreaInside,
    CosineDistance,
    DeadMaps,
    Deletion,
    EdgeCorrelation,
    EnergyPointingGame,
    Insertion,
    PairwiseCosine,
    PerImageMetric,
    PointingGame,
    RankCorrelation,
    dilate,
    edge_strength,
)


def left_half() -> Tensor:
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[:, :, :3] = True
    return masks


def test_the_mean_its_error_and_images_without_a_value() -> None:
    class Given(PerImageMetric):
        def update(self, values: Tensor) -> None:
            self.add(values)

    measure = Given()
    measure.update(torch.tensor([1.0, math.nan, 2.0]))
    measure.update(torch.tensor([6.0]))
    assert measure.compute() == 3
    assert measure.standard_error() == pytest.approx(np.std([1, 2, 6], ddof=1) / math.sqrt(3))
    measure.reset()
    assert measure.compute().isnan()
    measure.update(torch.tensor([1.0]))
    assert measure.standard_error().isnan()


def test_energy_and_area_inside_an_outline() -> None:
    projections = torch.zeros(2, 3, 4, 6)
    projections[0, 0, 1, 1], projections[0, 2, 1, 4] = -3, 1  # energy 9 inside, 1 outside
    projections[1, 1, 2, 5] = 2
    inside, area = EnergyPointingGame(), AreaInside()
    for measure in (inside, area):
        measure.update(projections, left_half())
    assert inside.compute() == pytest.approx((9 / 10 + 0) / 2)
    assert area.compute() == 0.5
    assert float(EnergyPointingGame()(100 * projections, left_half())) == pytest.approx(0.45), "brightness doesn't matter"


def test_what_shows_nothing_has_no_value() -> None:
    projections = torch.zeros(2, 3, 4, 6)
    projections[0, 0, 0, 0] = 1
    for measure, value in ((EnergyPointingGame(), 1), (AreaInside(), 0.5), (PointingGame(), 1)):
        measure.update(projections, left_half())
        assert measure.compute() == value
        assert len(measure._known()) == 1


def test_energy_spread_evenly_is_at_chance() -> None:
    projections, masks = torch.ones(1, 3, 40, 40), torch.rand(1, 40, 40) < 0.3
    measures = [measure(projections, masks) for measure in (EnergyPointingGame(), AreaInside())]
    assert measures[0] == pytest.approx(float(measures[1]))


def test_pointing_counts_hits_within_the_tolerance() -> None:
    projections = torch.zeros(2, 1, 4, 6)
    projections[0, 0, 2, 2], projections[1, 0, 2, 4] = 1, -1  # inside, and two columns outside
    assert PointingGame()(projections, left_half()) == 0.5
    assert PointingGame(tolerance=1)(projections, left_half()) == 0.5
    assert PointingGame(tolerance=2)(projections, left_half()) == 1


def test_grown_outlines_against_plain_distances() -> None:
    torch.manual_seed(0)
    masks = torch.rand(2, 9, 11) < 0.05
    rows, columns = np.indices((9, 11))
    for image, wide in zip(masks.numpy(), dilate(masks, 2).numpy(), strict=True):
        expected = np.zeros((9, 11), dtype=bool)
        for row, column in np.argwhere(image):
            expected |= (abs(rows - row) <= 2) & (abs(columns - column) <= 2)
        np.testing.assert_array_equal(wide, expected)


def test_likeness_is_the_mean_cosine_of_all_pairs() -> None:
    one, other = torch.randn(2, 3, 5, 5).double()
    same = torch.stack([one, 3 * one, one])[None]
    assert float(PairwiseCosine()(same)) == pytest.approx(1)
    three = torch.stack([one, -one, other])[None]
    cosine = float((one * other).sum() / one.norm() / other.norm())
    assert float(PairwiseCosine()(three)) == pytest.approx((-1 + cosine - cosine) / 3, abs=1e-6)
    assert PairwiseCosine()(torch.stack([one, torch.zeros_like(one)])[None]).isnan()


def test_change_is_0_for_the_same_1_for_unrelated_2_for_opposite() -> None:
    before = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 0]]).view(4, 1, 1, 2)
    now = torch.tensor([[7.0, 0], [0, 2], [-1, 0], [1, 0]]).view(4, 1, 1, 2)
    measure = CosineDistance()
    measure.update(before, now)
    assert measure.values[0][:3].tolist() == [0, 1, 2]
    assert measure.compute() == 1


def test_an_outline_that_is_not_known_has_no_value() -> None:
    projections, masks = torch.ones(2, 3, 4, 6), left_half()
    masks[1] = False
    for measure in (EnergyPointingGame(), AreaInside(), PointingGame()):
        measure.update(projections, masks)
        assert measure.values[0].isnan().tolist() == [False, True]


def test_edge_strength_of_a_slope_is_its_steepness() -> None:
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    slope = (3 * columns + 4 * rows)[None, None]
    torch.testing.assert_close(edge_strength(slope), torch.full((1, 4, 5), 5.0, dtype=torch.float64))


def test_detail_is_1_for_the_image_and_falls_with_blur_shift_and_noise() -> None:
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


def test_rank_correlation_and_areas_are_means_over_images() -> None:
    one, other = torch.tensor([[[1.0, 2, 3], [1, 2, 3]], [[4, 5, 6], [6, 5, 4]]]).view(2, 2, 1, 1, 3)
    measure = RankCorrelation()
    measure.update(one, other)
    assert measure.values[0].tolist() == pytest.approx([1, -1])
    curves = torch.tensor([[1.0, 0.5, 0], [1, 1, 1]])
    for measure in (Deletion(), Insertion()):
        assert float(measure(curves)) == pytest.approx(0.75)
    assert (Deletion.higher_is_better, Insertion.higher_is_better) == (False, True)


def test_dead_maps_are_those_that_never_change_in_any_image() -> None:
    maps = torch.zeros(2, 4, 3, 3)
    maps[0, 1, 0, 0] = 1  # alive in one image
    maps[:, 2] = 7  # even
    maps[0, 3], maps[1, 3] = 1, 2  # even in each, but not the same
    measure = DeadMaps(4)
    assert measure(maps) == 2
    measure.reset()
    for image in maps:
        measure.update(image[None])
    assert measure.compute() == 2
