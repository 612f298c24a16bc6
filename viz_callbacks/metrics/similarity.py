"""Metrics of how alike two pictures are: of an image, of different classes, of two epochs, before and after randomisation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from viz_callbacks.metrics.per_image import PerImageMetric


class PairwiseCosine(PerImageMetric):
    """How alike projections of the same image are that ought to differ: the mean cosine over all pairs of them.

    Definition: for projections R_1 ... R_K of one image, the mean over i < j of <R_i, R_j> / (|R_i| |R_j|). Range -1 to 1; 1
    means that they differ in nothing but brightness. For DeNet of K classes lower is better: its projections depend on the
    class. NaN where one of them is 0 everywhere. Source: class sensitivity in Nie et al. 2018 (arXiv 1805.07039) and the
    convergence of Sixt et al. 2020 (arXiv 1912.09818).
    """

    higher_is_better = False

    def update(self, projections: Tensor) -> None:
        """Measure ``projections`` (N, K, C, H, W), K of each of N images."""
        directions = F.normalize(projections.flatten(2).double(), dim=2, eps=0)
        first, second = torch.triu_indices(projections.shape[1], projections.shape[1], 1).to(projections.device)
        self.add((directions[:, first] * directions[:, second]).sum(2).mean(1))


class CosineDistance(PerImageMetric):
    """How much a projection R changed to R': 1 - <R, R'> / (|R| |R'|).

    Range 0 (the same but for brightness) to 2; NaN where one of the two is 0 everywhere.
    """

    def update(self, before: Tensor, now: Tensor) -> None:
        """Measure a batch of two times (N, C, H, W)."""
        before, now = (F.normalize(each.flatten(1).double(), dim=1, eps=0) for each in (before, now))
        self.add(1 - (before * now).sum(1))


class EdgeCorrelation(PerImageMetric):
    """How much of an image's fine structure a projection shows: whether its edges lie where the image's do.

    Definition: Pearson's correlation of the ``edge_strength`` of the projection and of the image. Range -1 to 1, higher is
    better: 1 for the image itself whatever its brightness and sign, about 0 for anything unrelated; blurring, shifting by a few
    pixels and artefacts lower it. NaN where one of the two has the same edges everywhere. Source: image recovery in Nie et al.
    2018 (arXiv 1805.07039), where the projection is compared with the image's edges by eye.
    """

    higher_is_better = True

    def update(self, projections: Tensor, images: Tensor) -> None:
        """Measure a batch, both (N, C, H, W)."""
        self.add(_correlation(edge_strength(projections), edge_strength(images)))


class RankCorrelation(PerImageMetric):
    """How alike the order of the pixels is in two projections of an image, such as before and after weights were randomised.

    Definition: Spearman's rank correlation of the energies e(q) = sum over c of R[c, q]^2. Range -1 to 1; a projection that
    depends on what was learnt falls to about 0 when weights are randomised. NaN where one of the two has the same energy
    everywhere. Source: Adebayo et al. 2018 (arXiv 1810.03292).
    """

    higher_is_better = False

    def update(self, one: Tensor, other: Tensor) -> None:
        """Measure a batch, both (N, C, H, W)."""
        self.add(rank_correlation(one, other))


def edge_strength(pictures: Tensor) -> Tensor:
    """Return the strength of the edges in pictures (N, C, H, W): (N, H - 1, W - 1) in double precision.

    It is the length of the difference to the next pixel on the right and below, over all channels.
    """
    values = pictures.double()
    across = values[:, :, :-1, 1:] - values[:, :, :-1, :-1]
    down = values[:, :, 1:, :-1] - values[:, :, :-1, :-1]
    return (across.square() + down.square()).sum(1).sqrt()


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return Spearman's rank correlation (N,) of the energies of two batches of projections (N, C, H, W).

    1 is the same order, 0 no relation. Equal energies share their mean rank.
    """
    return _correlation(*(_ranks(each.double().square().sum(1).flatten(1)) for each in (one, other)))


def _ranks(values: Tensor) -> Tensor:
    """Return ranks from 0 within each row (N, M); equal values get the mean of theirs."""
    ranks = torch.empty_like(values, dtype=torch.float64)
    for row, own in zip(values, ranks, strict=True):
        _, inverse, counts = row.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        own.copy_((last - (counts + 1) / 2)[inverse])
    return ranks


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return Pearson's correlation (N,) of two batches of any one shape (N, ...); NaN where one of the two is constant."""
    flat = (each.flatten(1) for each in (one, other))
    first, second = (F.normalize(each - each.mean(1, keepdim=True), dim=1, eps=0) for each in flat)
    return (first * second).sum(1)
