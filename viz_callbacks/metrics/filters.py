"""Whether a layer learns: how far its filters have left the random start, and what kind of filters they have become.

A layer's filters are the rows w_k of its weights (K, C, h, w), in the order of the feature maps. Photographs have little energy
at high frequencies, so gradients hardly reach those of a filter, and what the random start put there stays until something
takes it away. A network can classify well with such filters; pictures projected through them show noise.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

HALF_OF_NYQUIST = 0.25  # cycles per pixel


class FilterMetric(Metric):
    """A value of a layer's filters; ``update`` sets it, and of several updates the last one counts. NaN before the first."""

    is_differentiable = False
    full_state_update = False
    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", torch.tensor(torch.nan, dtype=torch.float64), dist_reduce_fx="mean")

    def compute(self) -> Tensor:
        """Return the value."""
        return self.value


class FilterLearning(FilterMetric):
    """How much of a layer's filters is learnt: 1 minus the median cosine between each filter and its random start.

    Definition: 1 - median over k of <w_k, s_k> / (|w_k| |s_k|), with s_k the filter as it was before training. Range 0 to 2: 0
    for filters that are still the numbers of the start, whatever their length; 1 where nothing of the start is left, which is
    also what two independent random filters of many weights come to. A filter that is 0 counts as 1. Of an even number of
    filters the median is the mean of the middle two.
    """

    higher_is_better = True

    def update(self, filters: Tensor, start: Tensor) -> None:
        """Compare a layer's filters with the same filters at the start, both (K, C, h, w)."""
        now, before = (F.normalize(each.detach().flatten(1).double(), dim=1, eps=0).nan_to_num() for each in (filters, start))
        self.value = 1 - (now * before).sum(1).quantile(0.5)


class LowFrequencyShare(FilterMetric):
    """How smooth filters are: the mean share of a filter's energy at low frequencies.

    Definition: the sum over channels of the squared magnitudes of the filter's two-dimensional discrete Fourier transform, at
    the frequencies whose radius is below half of Nyquist's (0.25 cycles per pixel), over that at all frequencies; the mean over
    filters. Range 0 to 1; white noise comes to the share of such frequencies (``LowFrequencyShare.chance``): 0.17 for 11 x 11
    filters, 0.18 for 7 x 7. A filter that is 0 is left out. What is low for filters of 3 x 3 is the mean alone.
    """

    def update(self, filters: Tensor) -> None:
        """Measure a layer's filters (K, C, h, w)."""
        energy = torch.fft.fft2(filters.detach().double()).abs().square().sum(1)
        low = self._low(filters).to(energy.device)
        self.value = ((energy * low).sum((1, 2)) / energy.sum((1, 2))).nanmean()

    @classmethod
    def chance(cls, filters: Tensor) -> float:
        """Return what white noise of the size of filters (K, C, h, w) comes to in the mean."""
        return float(cls._low(filters).double().mean())

    @staticmethod
    def _low(filters: Tensor) -> Tensor:
        rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in filters.shape[2:])
        return torch.hypot(rows[:, None], columns[None, :]) < HALF_OF_NYQUIST


class EffectiveRank(FilterMetric):
    """How many different filters a layer has: the effective rank of its filters as the rows of a matrix.

    Definition: exp(-sum over i of p_i log p_i) with p_i the matrix's singular values divided by their sum. Range 1, all filters
    alike but for length, to the smaller of K and C h w, all orthogonal and equally long. Random filters come close to that:
    compare with the start. Source: Roy and Vetterli, The effective rank (EUSIPCO 2007).
    """

    higher_is_better = None

    def update(self, filters: Tensor) -> None:
        """Measure a layer's filters (K, C, h, w)."""
        rows = filters.detach().flatten(1).double()
        # The eigenvalues of the smaller Gram matrix take an eighth of the time of the singular values (384 x 3,456).
        gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
        shares = F.normalize(torch.linalg.eigvalsh(gram).clamp(min=0).sqrt(), p=1, dim=0)
        self.value = torch.special.entr(shares).sum().exp()


def measure_filters(filters: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> dict[str, float]:
    """Measure the filters of layers, first to last, by the layers' names.

    >>> start = {"conv1": torch.randn(4, 3, 5, 5), "conv2": torch.randn(6, 4, 3, 3)}
    >>> list(measure_filters({name: 2 * weights for name, weights in start.items()}, start))
    ['learned/conv1', 'effective_rank/conv1', 'learned/conv2', 'effective_rank/conv2', 'low_frequency/conv1']

    Args:
        filters: of each layer now, (K, C, h, w).
        start: the same layers' before training.

    Returns:
        ``learned/LAYER`` (``FilterLearning``) and ``effective_rank/LAYER`` (``EffectiveRank``); of the first layer, whose
        filters lie in the pixels, ``low_frequency/LAYER`` (``LowFrequencyShare``).
    """
    found = {}
    for name, own in filters.items():
        found[f"learned/{name}"] = float(FilterLearning()(own, start[name]))
        found[f"effective_rank/{name}"] = float(EffectiveRank()(own))
    first = next(iter(filters))
    return found | {f"low_frequency/{first}": float(LowFrequencyShare()(filters[first]))}
