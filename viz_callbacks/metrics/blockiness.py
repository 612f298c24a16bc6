"""Block artefacts: how strong the grid of a network's stride is in a projection."""

import torch
from torch import Tensor

from viz_callbacks.metrics.per_image import PerImageMetric


class Blockiness(PerImageMetric):
    """How far a projection's spectrum stands out at the frequencies of a grid of ``period`` pixels.

    Definition: the channels' mean, times a Hann window, has the power spectrum P. Summed over the other axis it is one row of
    values for each axis; at each frequency k / period, k = 1 ... period / 2, the row is divided by the median of its
    neighbours, 2 to ``reach`` bins away on both sides. The value is the geometric mean of these quotients over k and both
    axes. Nothing in a row counts as less than a millionth of the row's mean, so that the value of a picture that is all grid
    stays bounded. Range 0 to the side times 1e6, both excluded; lower is better; about 1 for photographs, which prefer no grid.
    The mean over images is geometric too. NaN for a projection that is 0 everywhere. Source: the blockiness of Wang, Bovik and
    Evans (ICIP 2000) with the stride for JPEG's 8; the cause is that of Odena et al. 2016 (Deconvolution and Checkerboard
    Artifacts, distill.pub).

    Args:
        period: of the grid, in pixels.
        reach: of the neighbours, in bins of the spectrum.
    """

    higher_is_better = False

    def __init__(self, period: int, reach: int = 6) -> None:
        super().__init__()
        self.period = period
        self.reach = reach

    def update(self, projections: Tensor) -> None:
        """Measure ``projections`` (N, C, H, W). Raises ValueError as ``blockiness`` does."""
        self.add(blockiness(projections, self.period, self.reach))

    @staticmethod
    def average(values: Tensor) -> Tensor:
        """Return the geometric mean of values (N,) of images, those left out that are NaN; NaN where all are."""
        return values.log().nanmean().exp()

    def standard_error(self) -> Tensor:
        """Return the standard error of that mean, from that of the logarithms; NaN for fewer than two images."""
        logs = self._known().log()
        return self.compute() * logs.std() / len(logs) ** 0.5 if len(logs) > 1 else torch.tensor(torch.nan)


def blockiness(projections: Tensor, period: int, reach: int = 6) -> Tensor:
    """Return the values of ``Blockiness``, (N,) for projections (N, C, H, W).

    Raises:
        ValueError: a side is too short to have neighbours at each frequency.
    """
    sides = [side // period * period for side in projections.shape[2:]]  # so that the grid's frequencies are bins
    if min(sides) < 2 * period * (reach + 1):
        raise ValueError(f"{tuple(projections.shape[2:])} pixels are too small for a grid of {period} and a reach of {reach}")
    grey = projections.double().mean(1)[:, : sides[0], : sides[1]]
    windows = [torch.hann_window(side, periodic=True, dtype=torch.float64, device=projections.device) for side in sides]
    power = torch.fft.fft2(grey * windows[0][:, None] * windows[1]).abs().square()
    away = torch.tensor([d for d in range(-reach, reach + 1) if abs(d) >= 2], device=projections.device)
    logs = []
    for axis, side in enumerate(sides):
        row = power.sum(2 - axis)  # (N, side): over the other axis
        row = row.maximum(1e-6 * row.mean(1, keepdim=True))
        for k in range(1, period // 2 + 1):
            peak = k * side // period
            neighbours = row[:, (peak + away) % side]
            logs.append((row[:, peak] / neighbours.median(1).values).log())
    return torch.stack(logs).mean(0).exp()
