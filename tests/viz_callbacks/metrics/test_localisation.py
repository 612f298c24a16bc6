"""Where the energy of a projection lies, on cases where the right value is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from viz_callbacks.metrics.localisation import EnergyPointingGame, MaskArea, PointingGame, dilate


def left_half() -> Tensor:
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[:, :, :3] = True
    return masks


def test_energy_and_area_on_the_object() -> None:
    projections = torch.zeros(2, 3, 4, 6)
    projections[0, 0, 1, 1], projections[0, 2, 1, 4] = -3, 1  # energy 9 inside, 1 outside
    projections[1, 1, 2, 5] = 2
    inside, area = EnergyPointingGame(), MaskArea()
    for measure in (inside, area):
        measure.update(projections, left_half())
    assert inside.compute() == pytest.approx((9 / 10 + 0) / 2)
    assert area.compute() == 0.5
    assert float(EnergyPointingGame()(100 * projections, left_half())) == pytest.approx(0.45), "brightness doesn't matter"


def test_what_shows_nothing_has_no_value() -> None:
    projections = torch.zeros(2, 3, 4, 6)
    projections[0, 0, 0, 0] = 1
    for measure, value in ((EnergyPointingGame(), 1), (MaskArea(), 0.5), (PointingGame(), 1)):
        measure.update(projections, left_half())
        assert measure.compute() == value
        assert len(measure._known()) == 1


def test_energy_spread_evenly_is_at_chance() -> None:
    projections, masks = torch.ones(1, 3, 40, 40), torch.rand(1, 40, 40) < 0.3
    measures = [measure(projections, masks) for measure in (EnergyPointingGame(), MaskArea())]
    assert measures[0] == pytest.approx(float(measures[1]))


def test_pointing_counts_hits_within_the_tolerance() -> None:
    projections = torch.zeros(2, 1, 4, 6)
    projections[0, 0, 2, 2], projections[1, 0, 2, 4] = 1, -1  # inside, and two columns outside
    assert PointingGame()(projections, left_half()) == 0.5
    assert PointingGame(tolerance=1)(projections, left_half()) == 0.5
    assert PointingGame(tolerance=2)(projections, left_half()) == 1


def test_pointing_at_several_places_or_at_none() -> None:
    projections = torch.zeros(3, 1, 4, 6)
    projections[0, 0, 0, [0, 1, 5]] = 2  # two of three inside
    projections[1] = 7  # flat: at chance
    projections[2, 0, 3, 3] = torch.nan
    game = PointingGame()
    game.update(projections, left_half()[:1].expand(3, -1, -1))
    assert game.per_image()[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert game.per_image()[2].isnan()


def test_dilated_masks_against_plain_distances() -> None:
    torch.manual_seed(0)
    masks = torch.rand(2, 9, 11) < 0.05
    rows, columns = np.indices((9, 11))
    for image, wide in zip(masks.numpy(), dilate(masks, 2).numpy(), strict=True):
        expected = np.zeros((9, 11), dtype=bool)
        for row, column in np.argwhere(image):
            expected |= (abs(rows - row) <= 2) & (abs(columns - column) <= 2)
        np.testing.assert_array_equal(wide, expected)


def test_a_mask_that_is_not_known_has_no_value() -> None:
    projections, masks = torch.ones(2, 3, 4, 6), left_half()
    masks[1] = False
    for measure in (EnergyPointingGame(), MaskArea(), PointingGame()):
        measure.update(projections, masks)
        assert measure.values[0].isnan().tolist() == [False, True]
