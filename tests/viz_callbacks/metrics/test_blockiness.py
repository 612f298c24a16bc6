"""Blockiness: its definition word for word, and artefacts of known strength."""

import numpy as np
import pytest
import torch

from configs import DataSettings
from datamodules.caltech101.datamodule import Caltech101
from viz_callbacks.metrics.blockiness import Blockiness, blockiness


def test_blockiness_follows_its_definition() -> None:
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
    assert float(blockiness(picture[None], 4)) == pytest.approx(np.prod(quotients) ** (1 / 4))


def test_blockiness_is_1_for_noise_and_grows_with_a_grid_of_its_own_period() -> None:
    torch.manual_seed(0)
    noise = torch.randn(40, 3, 160, 160)
    grid = torch.zeros(160, 160)
    grid[::4, ::4] = 1
    measure = Blockiness(4)
    measure.update(noise)
    assert float(measure.compute()) == pytest.approx(1, abs=0.15)
    strengths = [float(blockiness(noise + strength * grid, 4).mean()) for strength in (0.5, 1, 2, 4)]
    assert strengths == sorted(strengths)
    assert strengths[-1] > 20
    other = torch.zeros(160, 160)
    other[::5, ::5] = 1
    assert float(blockiness(noise + 4 * other, 4).mean()) < 2, "another period is no grid of 4"


def test_blockiness_knows_no_brightness_and_no_sign() -> None:
    torch.manual_seed(0)
    picture = torch.randn(2, 3, 96, 99)
    torch.testing.assert_close(blockiness(picture, 2), blockiness(-7 * picture, 2))


def test_a_picture_too_small_for_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="too small for a grid of 8"):
        blockiness(torch.randn(1, 3, 64, 64), 8)


@pytest.mark.parametrize("period", [2, 4])
def test_photographs_are_at_1_and_known_artefacts_are_found_in_them(period: int, real_settings: DataSettings) -> None:
    data = Caltech101(real_settings, 192, seed=1)
    data.setup()
    images = data.images(data.split.test[::25]).float()  # 70
    assert float(blockiness(images, period).log().mean().exp()) == pytest.approx(1, abs=0.15)
    grid = torch.zeros(192, 192)
    grid[::period, ::period] = 1
    found = [float(blockiness(images + strength * grid, period).log().mean().exp()) for strength in (5, 10, 20, 40)]
    assert found == sorted(found)
    assert found[-1] > 5


def test_a_picture_that_is_all_grid_is_bounded_and_its_mean_with_others_is_geometric() -> None:
    torch.manual_seed(0)
    grid = torch.zeros(2, 1, 64, 64)
    grid[:, :, ::4, ::4] = 1
    grid[1] = torch.randn(1, 64, 64)
    measure = Blockiness(4, reach=3)
    measure.update(grid)
    strong, weak = measure.per_image().tolist()
    assert 1e3 < strong < 64e6
    assert float(measure.compute()) == pytest.approx((strong * weak) ** 0.5, rel=1e-4)
    logs = np.log([strong, weak])
    assert float(measure.standard_error()) == pytest.approx((strong * weak) ** 0.5 * logs.std(ddof=1) / 2**0.5, rel=1e-4)
