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

from viz_callbacks.methods.sanity_checks import auc, rank_correlation


class PerImageMetric(Metric):
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

    def per_image(self) -> Tensor:
        """The values of all images in order (N,), NaN for one that has none."""
        return dim_zero_cat(self.values) if self.values else torch.zeros(0)

    def compute(self) -> Tensor:
        """The mean over all images, NaN where there is none."""
        return self._known().mean()

    def standard_error(self) -> Tensor:
        """The standard error of that mean, NaN for fewer than two images."""
        known = self._known()
        return known.std() / len(known) ** 0.5 if len(known) > 1 else torch.tensor(torch.nan)

    def _known(self) -> Tensor:
        values = self.per_image()
        return values[~values.isnan()]


class EnergyPointingGame(PerImageMetric):
    """Share of a projection's energy inside the object's outline.

    Definition: sum of e over the outline / sum of e over the image. Range 0 to 1, higher is better; chance, for energy that
    knows nothing of the object, is the outline's share of the area (``AreaInside``). NaN for a projection that is 0
    everywhere, and for an outline that is empty since it is not known. Source: the energy-based pointing game of Wang et al.
    2020 (Score-CAM, arXiv 1910.01279), with energy for saliency.
    """

    higher_is_better = True

    def update(self, projections: Tensor, masks: Tensor) -> None:
        """``projections`` (N, C, H, W), ``masks`` (N, H, W) bool, true on the object."""
        energy = projections.double().square().sum(1)
        inside = (energy * masks).sum((1, 2)) / energy.sum((1, 2))
        self.add(inside.masked_fill(_unknown(masks), torch.nan))


class AreaInside(PerImageMetric):
    """The outline's share of the image's area: what ``EnergyPointingGame`` and ``PointingGame`` come to by chance. Range 0 to 1."""

    def update(self, projections: Tensor, masks: Tensor) -> None:
        """As ``EnergyPointingGame``; images whose projection is 0 everywhere are left out here too."""
        silent = projections.flatten(1).abs().sum(1) == 0
        self.add(masks.double().mean((1, 2)).masked_fill(silent | _unknown(masks), torch.nan))


class PointingGame(PerImageMetric):
    """How often a projection's strongest pixel lies on the object: the pointing game.

    Definition: 1 where the pixel of the largest e lies inside the outline or at most ``tolerance`` pixels from it, else 0.
    Range 0 to 1, higher is better; chance is ``AreaInside`` where the tolerance is 0. NaN as for
    ``EnergyPointingGame``. Source: Zhang et al. 2016 (arXiv 1608.00507), who allow 15 pixels.
    """

    higher_is_better = True

    def __init__(self, tolerance: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance

    def update(self, projections: Tensor, masks: Tensor) -> None:
        """As ``EnergyPointingGame``."""
        energy = projections.double().square().sum(1)
        wide = dilate(masks, self.tolerance)
        hit = wide.flatten(1).gather(1, energy.flatten(1).argmax(1, keepdim=True))[:, 0].double()
        self.add(hit.masked_fill((energy.sum((1, 2)) == 0) | _unknown(masks), torch.nan))


class PairwiseCosine(PerImageMetric):
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


class CosineDistance(PerImageMetric):
    """How much a projection changed since it was last seen: 1 - cosine.

    Range 0 (the same but for brightness) to 2; NaN where one of the two is 0 everywhere.
    """

    def update(self, before: Tensor, now: Tensor) -> None:
        """Both (N, C, H, W)."""
        before, now = (F.normalize(each.flatten(1).double(), dim=1, eps=0) for each in (before, now))
        self.add(1 - (before * now).sum(1))


class EdgeCorrelation(PerImageMetric):
    """How much of an image's fine structure a picture shows: whether its edges lie where the image's do.

    Definition: Pearson's correlation between the edge strengths of the picture and of the image, edge strength being the length
    of the difference to the next pixel on the right and below, over all channels. Range -1 to 1, higher is better: 1 for the
    image itself whatever its brightness and sign, about 0 for anything unrelated; blurring, shifting by a few pixels and
    artefacts lower it. NaN where one of the two is even. Source: image recovery in Nie et al. 2018 (arXiv 1805.07039), where
    the picture is compared with the image's edges by eye.
    """

    higher_is_better = True

    def update(self, pictures: Tensor, images: Tensor) -> None:
        """Both (N, C, H, W)."""
        one, other = (_centred(edge_strength(each)) for each in (pictures, images))
        self.add((one * other).sum(1))


class RankCorrelation(PerImageMetric):
    """How alike the order of the pixels is in two pictures of an image, such as before and after weights were randomised.

    Definition: Spearman's rank correlation of the energies e. Range -1 to 1; a picture that depends on what was learnt falls to
    about 0 when weights are randomised. NaN where one of the two is even. Source: Adebayo et al. 2018 (arXiv 1810.03292).
    """

    higher_is_better = False

    def update(self, one: Tensor, other: Tensor) -> None:
        """Both (N, C, H, W)."""
        self.add(rank_correlation(one, other))


class Deletion(PerImageMetric):
    """The true class's mean probability as pixels are taken away, those with the most energy in the picture first.

    Definition: the area under ``controls.deletion_curve``, whose width is 1. Range 0 to 1, lower is better. Source: Petsiuk et
    al. 2018 (RISE, arXiv 1806.07421).
    """

    higher_is_better = False

    def update(self, curves: Tensor) -> None:
        """``curves`` (N, points)."""
        self.add(auc(curves))


class Insertion(Deletion):
    """The true class's mean probability as pixels are brought into the blurred image, in the same order.

    Definition: the area under ``controls.insertion_curve``. Range 0 to 1, higher is better. Source: as ``Deletion``.
    """

    higher_is_better = True


class DeadMaps(Metric):
    """How many of a layer's feature maps show nothing: the same value everywhere in every image.

    Range 0 to the number of maps, lower is better. Zeiler and Fergus (ECCV 2014, section 4.1) see "dead" features in the first
    layer of AlexNet, without a definition. The more images are seen, the fewer maps count as dead.
    """

    higher_is_better = False
    full_state_update = False
    lowest: Tensor
    highest: Tensor

    def __init__(self, maps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("lowest", torch.full((maps,), torch.inf), dist_reduce_fx="min")
        self.add_state("highest", torch.full((maps,), -torch.inf), dist_reduce_fx="max")

    def update(self, feature_maps: Tensor) -> None:
        """``feature_maps`` (N, maps, H, W)."""
        self.lowest = torch.minimum(self.lowest, feature_maps.amin((0, 2, 3)).float())
        self.highest = torch.maximum(self.highest, feature_maps.amax((0, 2, 3)).float())

    def compute(self) -> Tensor:
        """The number of dead maps."""
        return (self.lowest == self.highest).sum()


def edge_strength(pictures: Tensor) -> Tensor:
    """Length of the difference to the next pixel on the right and below, all channels together: (N, H - 1, W - 1) double."""
    values = pictures.double()
    across = values[:, :, :-1, 1:] - values[:, :, :-1, :-1]
    down = values[:, :, 1:, :-1] - values[:, :, :-1, :-1]
    return (across.square() + down.square()).sum(1).sqrt()


def _centred(values: Tensor) -> Tensor:
    """Rows (N, M) of zero mean and length 1; NaN for even ones."""
    flat = values.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1, eps=0)


def dilate(masks: Tensor, distance: int) -> Tensor:
    """``masks`` (N, H, W) bool and what lies at most so many pixels from them, in each direction of the grid."""
    if distance == 0:
        return masks
    return F.max_pool2d(masks[:, None].float(), 2 * distance + 1, 1, distance)[:, 0] > 0


def _unknown(masks: Tensor) -> Tensor:
    """Which masks (N, H, W) are empty, (N,)."""
    return ~masks.flatten(1).any(1)
