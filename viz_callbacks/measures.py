r"""The numbers beside the pictures, as torchmetrics: what the eye would otherwise have to be trusted with.

Each measure gives one value for each image, and ``compute()`` their mean; ``standard_error()`` says how far that mean is from
the mean over all such images. A projection R has the energy e(q) = sum over the channels c of R[c, q]^2 at the pixel q.
"""

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class PerImage(Metric):
    """A mean over images. A subclass's ``update`` calls ``add`` with one value for each image; NaN for one that has none."""

    is_differentiable = False
    full_state_update = False
    values: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("values", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def update(self, *words: Any) -> None:
        """Measure a batch of images."""

    def add(self, values: Tensor) -> None:
        """Keep the values (N,) of a batch."""
        self.values.append(values.detach().float())

    def compute(self) -> Tensor:
        """The mean over all images, NaN where there is none."""
        return self._known().mean()

    def standard_error(self) -> Tensor:
        """The standard error of that mean, NaN for fewer than two images."""
        known = self._known()
        return known.std() / len(known) ** 0.5 if len(known) > 1 else torch.tensor(torch.nan)

    def _known(self) -> Tensor:
        values = dim_zero_cat(self.values) if self.values else torch.zeros(0)
        return values[~values.isnan()]


class EnergyInside(PerImage):
    """Share of a projection's energy inside the object's outline.

    Definition: sum of e over the outline / sum of e over the image. Range 0 to 1, higher is better; chance, for energy that
    knows nothing of the object, is the outline's share of the area (``AreaInside``). NaN for a projection that is 0
    everywhere. Source: the energy-based pointing game of Wang et al. 2020 (Score-CAM, arXiv 1910.01279), with energy for
    saliency.
    """

    higher_is_better = True

    def update(self, projections: Tensor, outlines: Tensor) -> None:
        """``projections`` (N, C, H, W), ``outlines`` (N, H, W) bool, true on the object."""
        energy = projections.double().square().sum(1)
        self.add((energy * outlines).sum((1, 2)) / energy.sum((1, 2)))


class AreaInside(PerImage):
    """The outline's share of the image's area: what ``EnergyInside`` and ``Pointing`` come to by chance. Range 0 to 1."""

    def update(self, projections: Tensor, outlines: Tensor) -> None:
        """As ``EnergyInside``; images whose projection is 0 everywhere are left out here too."""
        silent = projections.flatten(1).abs().sum(1) == 0
        self.add(outlines.double().mean((1, 2)).masked_fill(silent, torch.nan))


class Pointing(PerImage):
    """How often a projection's strongest pixel lies on the object: the pointing game.

    Definition: 1 where the pixel of the largest e lies inside the outline or at most ``tolerance`` pixels from it, else 0.
    Range 0 to 1, higher is better; chance is ``AreaInside`` where the tolerance is 0. NaN for a projection that is 0
    everywhere. Source: Zhang et al. 2016 (arXiv 1608.00507), who allow 15 pixels.
    """

    higher_is_better = True

    def __init__(self, tolerance: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance

    def update(self, projections: Tensor, outlines: Tensor) -> None:
        """As ``EnergyInside``."""
        energy = projections.double().square().sum(1)
        wide = grown(outlines, self.tolerance)
        hit = wide.flatten(1).gather(1, energy.flatten(1).argmax(1, keepdim=True))[:, 0].double()
        self.add(hit.masked_fill(energy.sum((1, 2)) == 0, torch.nan))


class Likeness(PerImage):
    """How alike pictures of the same image are that ought to differ: the mean cosine over all pairs of them.

    Definition: for pictures R_1 ... R_K of one image, the mean over i < j of <R_i, R_j> / (|R_i| |R_j|). Range -1 to 1; 1 means
    that they differ in nothing but brightness. For DeNet of K classes lower is better: the pictures depend on the class. NaN
    where a picture is 0 everywhere. Source: class sensitivity in Nie et al. 2018 (arXiv 1805.07039) and the convergence of
    Sixt et al. 2020 (arXiv 1912.09818).
    """

    higher_is_better = False

    def update(self, pictures: Tensor) -> None:
        """``pictures`` (N, K, C, H, W), K of each of N images."""
        directions = F.normalize(pictures.flatten(2).double(), dim=2, eps=0)
        first, second = torch.triu_indices(pictures.shape[1], pictures.shape[1], 1).to(pictures.device)
        self.add((directions[:, first] * directions[:, second]).sum(2).mean(1))


class Change(PerImage):
    """How much a projection changed since it was last seen: 1 - cosine.

    Range 0 (the same but for brightness) to 2; NaN where one of the two is 0 everywhere.
    """

    def update(self, before: Tensor, now: Tensor) -> None:
        """Both (N, C, H, W)."""
        before, now = (F.normalize(each.flatten(1).double(), dim=1, eps=0) for each in (before, now))
        self.add(1 - (before * now).sum(1))


class GridEnergy(PerImage):
    """Block artefacts: how far a projection's spectrum stands out at the frequencies of a grid of ``period`` pixels.

    Definition: the channels' mean, times a Hann window, has the power spectrum P. Summed over the other axis it is one row of
    numbers for each axis; at each frequency k / period, k = 1 ... period / 2, the row is divided by the median of its
    neighbours, 2 to ``reach`` bins away on both sides. The value is the geometric mean of these quotients over k and both
    axes. Range 0 to infinity, lower is better; about 1 for photographs, which prefer no grid. NaN for a picture that is 0
    everywhere. Source: the blockiness of Wang, Bovik and Evans (ICIP 2000) with the stride for JPEG's 8; the cause is that of
    Odena et al. 2016 (Deconvolution and Checkerboard Artifacts, distill.pub).
    """

    higher_is_better = False

    def __init__(self, period: int, reach: int = 6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.period = period
        self.reach = reach

    def update(self, pictures: Tensor) -> None:
        """``pictures`` (N, C, H, W). Raises ValueError for a side too short to have neighbours at each frequency."""
        self.add(grid_energy(pictures, self.period, self.reach))


def grid_energy(pictures: Tensor, period: int, reach: int = 6) -> Tensor:
    """The values of ``GridEnergy``, (N,) for pictures (N, C, H, W)."""
    sides = [side // period * period for side in pictures.shape[2:]]  # so that the grid's frequencies are bins
    if min(sides) < 2 * period * (reach + 1):
        raise ValueError(f"pictures of {tuple(pictures.shape[2:])} are too small for a grid of {period} and a reach of {reach}")
    grey = pictures.double().mean(1)[:, : sides[0], : sides[1]]
    windows = [torch.hann_window(side, periodic=True, dtype=torch.float64, device=pictures.device) for side in sides]
    power = torch.fft.fft2(grey * windows[0][:, None] * windows[1]).abs().square()
    logs = []
    for axis, side in enumerate(sides):
        row = power.sum(2 - axis)  # (N, side): over the other axis
        for k in range(1, period // 2 + 1):
            peak = k * side // period
            away = torch.tensor([d for d in range(-reach, reach + 1) if abs(d) >= 2], device=pictures.device)
            neighbours = row[:, (peak + away) % side]
            logs.append((row[:, peak] / neighbours.median(1).values).log())
    return torch.stack(logs).mean(0).exp()


def grown(outlines: Tensor, distance: int) -> Tensor:
    """``outlines`` (N, H, W) bool and what lies at most so many pixels from them, in each direction of the grid."""
    if distance == 0:
        return outlines
    return F.max_pool2d(outlines[:, None].float(), 2 * distance + 1, 1, distance)[:, 0] > 0
