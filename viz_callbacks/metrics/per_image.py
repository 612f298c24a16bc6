"""The base of the metrics that give each image a value: their mean, and how far it is from the mean over all such images."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class PerImageMetric(Metric):
    """A mean over images; a subclass's ``update`` calls ``add`` with one value for each image, NaN for one that has none."""

    is_differentiable = False
    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def add(self, values: Tensor) -> None:
        """Keep the values (N,) of a batch."""
        self.values.append(values.detach().float())

    def per_image(self) -> Tensor:
        """Return the values of all images in the order in which they came, (N,), NaN for one that has none."""
        return dim_zero_cat(self.values) if self.values else torch.zeros(0)

    def compute(self) -> Tensor:
        """Return the mean over all images that have a value, NaN where none has."""
        return self.average(self.per_image())

    @staticmethod
    def average(values: Tensor) -> Tensor:
        """Return the mean of values (N,) of images, those left out that are NaN; NaN where all are."""
        return values.nanmean()

    def standard_error(self) -> Tensor:
        """Return the standard error of that mean, NaN for fewer than two images."""
        known = self._known()
        return known.std() / len(known) ** 0.5 if len(known) > 1 else torch.tensor(torch.nan)

    def _known(self) -> Tensor:
        values = self.per_image()
        return values[~values.isnan()]
