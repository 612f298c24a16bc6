"""The measures on cases where the right value is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from viz_callbacks.measures import (
    AreaInside,
    Change,
    EnergyInside,
    GridEnergy,
    Likeness,
    PerImage,
    Pointing,
    grid_energy,
    grown,
)


def left_half() -> Tensor:
    outlines = torch.zeros(2, 4, 6, dtype=torch.bool)
    outlines[:, :, :3] = True
    return outlines


def test_the_mean_its_error_and_images_without_a_value() -> None:
    class Given(PerImage):
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
    inside, area = EnergyInside(), AreaInside()
    for measure in (inside, area):
        measure.update(projections, left_half())
    assert inside.compute() == pytest.approx((9 / 10 + 0) / 2)
    assert area.compute() == 0.5
    assert float(EnergyInside()(100 * projections, left_half())) == pytest.approx(0.45), "brightness doesn't matter"


def test_what_shows_nothing_has_no_value() -> None:
    projections = torch.zeros(2, 3, 4, 6)
    projections[0, 0, 0, 0] = 1
    for measure, value in ((EnergyInside(), 1), (AreaInside(), 0.5), (Pointing(), 1)):
        measure.update(projections, left_half())
        assert measure.compute() == value
        assert len(measure._known()) == 1


def test_energy_spread_evenly_is_at_chance() -> None:
    projections, outlines = torch.ones(1, 3, 40, 40), torch.rand(1, 40, 40) < 0.3
    measures = [measure(projections, outlines) for measure in (EnergyInside(), AreaInside())]
    assert measures[0] == pytest.approx(float(measures[1]))


def test_pointing_counts_hits_within_the_tolerance() -> None:
    projections = torch.zeros(2, 1, 4, 6)
    projections[0, 0, 2, 2], projections[1, 0, 2, 4] = 1, -1  # inside, and two columns outside
    assert Pointing()(projections, left_half()) == 0.5
    assert Pointing(tolerance=1)(projections, left_half()) == 0.5
    assert Pointing(tolerance=2)(projections, left_half()) == 1


def test_grown_outlines_against_plain_distances() -> None:
    torch.manual_seed(0)
    outlines = torch.rand(2, 9, 11) < 0.05
    rows, columns = np.indices((9, 11))
    for image, wide in zip(outlines.numpy(), grown(outlines, 2).numpy(), strict=True):
        expected = np.zeros((9, 11), dtype=bool)
        for row, column in np.argwhere(image):
            expected |= (abs(rows - row) <= 2) & (abs(columns - column) <= 2)
        np.testing.assert_array_equal(wide, expected)


def test_likeness_is_the_mean_cosine_of_all_pairs() -> None:
    one, other = torch.randn(2, 3, 5, 5).double()
    same = torch.stack([one, 3 * one, one])[None]
    assert float(Likeness()(same)) == pytest.approx(1)
    three = torch.stack([one, -one, other])[None]
    cosine = float((one * other).sum() / one.norm() / other.norm())
    assert float(Likeness()(three)) == pytest.approx((-1 + cosine - cosine) / 3, abs=1e-6)
    assert Likeness()(torch.stack([one, torch.zeros_like(one)])[None]).isnan()


def test_change_is_0_for_the_same_1_for_unrelated_2_for_opposite() -> None:
    before = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 0]]).view(4, 1, 1, 2)
    now = torch.tensor([[7.0, 0], [0, 2], [-1, 0], [1, 0]]).view(4, 1, 1, 2)
    measure = Change()
    measure.update(before, now)
    assert measure.values[0][:3].tolist() == [0, 1, 2]
    assert measure.compute() == 1


def test_grid_energy_follows_its_definition() -> None:
    torch.manual_seed(0)
    picture = torch.randn(3, 128, 96, dtype=torch.float64)
    window = [0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side) for side in (128, 96)]
    power = np.abs(np.fft.fft2(picture.mean(0).numpy() * window[0][:, None] * window[1])) ** 2
    quotients = []
    for row in (power.sum(1), power.sum(0)):
        for k in (1, 2):
            peak = k * len(row) // 4
            around = sorted(row[(peak + d) % len(row)] for d in range(-6, 7) if abs(d) >= 2)
            quotients.append(row[peak] / around[(len(around) - 1) // 2])
    assert float(grid_energy(picture[None], 4)) == pytest.approx(np.prod(quotients) ** (1 / 4))


def test_grid_energy_is_1_for_noise_and_grows_with_a_grid_of_its_own_period() -> None:
    torch.manual_seed(0)
    noise = torch.randn(40, 3, 160, 160)
    grid = torch.zeros(160, 160)
    grid[::4, ::4] = 1
    measure = GridEnergy(4)
    measure.update(noise)
    assert float(measure.compute()) == pytest.approx(1, abs=0.15)
    strengths = [float(grid_energy(noise + strength * grid, 4).mean()) for strength in (0.5, 1, 2, 4)]
    assert strengths == sorted(strengths)
    assert strengths[-1] > 20
    other = torch.zeros(160, 160)
    other[::5, ::5] = 1
    assert float(grid_energy(noise + 4 * other, 4).mean()) < 2, "another period is no grid of 4"


def test_grid_energy_knows_no_brightness_and_no_sign() -> None:
    torch.manual_seed(0)
    picture = torch.randn(2, 3, 96, 99)
    torch.testing.assert_close(grid_energy(picture, 2), grid_energy(-7 * picture, 2))


def test_a_picture_too_small_for_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="too small for a grid of 8"):
        grid_energy(torch.randn(1, 3, 64, 64), 8)
