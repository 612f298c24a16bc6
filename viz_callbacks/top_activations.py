"""The strongest activations of each feature map over many images, collected while the images pass by.

For each map the K images with the largest maxima, one place in each image: Zeiler and Fergus (ECCV 2014, figure 2) show nine
"top activations" of a map "across the validation data". They don't say whether two of the nine may come from one image; here
each image counts once, with its strongest place.

Ties are settled so that the order of the images and the division into batches and processes don't matter: of equally strong
images the one with the smaller number comes first, of equally strong places in an image the first in row-major order.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from viz_callbacks.receptive_field import strongest_units


class TopActivations(Metric):
    """The ``keep`` strongest images of each of ``maps`` feature maps, with values and places.

    ``compute()`` gives ``values`` (maps, keep) in falling order, ``images``, ``rows`` and ``columns`` (maps, keep) of int64.
    Where there were fewer images, the image is -1 and the value -inf.
    """

    full_state_update = False
    values: Tensor
    places: Tensor

    def __init__(self, maps: int, keep: int = 9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep = keep
        self.add_state("values", torch.full((maps, keep), -torch.inf), dist_reduce_fx=None)
        self.add_state("places", torch.full((maps, keep, 3), -1), dist_reduce_fx=None)  # image, row, column

    def update(self, feature_maps: Tensor, images: Tensor) -> None:
        """``feature_maps`` (N, maps, H, W) of the images numbered ``images`` (N,). No image may come twice."""
        units = strongest_units(feature_maps)
        shape = feature_maps.shape[:2]
        values = feature_maps[units.images, units.maps, units.rows, units.columns].float().view(shape)
        numbers = images.to(units.rows)[units.images]
        places = torch.stack([numbers, units.rows, units.columns], 1).view(*shape, 3)
        self._merge(torch.cat([self.values, values.T], 1), torch.cat([self.places, places.transpose(0, 1)], 1))

    def compute(self) -> dict[str, Tensor]:
        """The strongest so far, of all processes together."""
        if self.values.ndim == 3:  # one more axis in front: the processes
            self._merge(self.values.transpose(0, 1).flatten(1), self.places.transpose(0, 1).flatten(1, 2))
        images, rows, columns = self.places.unbind(2)
        return {"values": self.values, "images": images, "rows": rows, "columns": columns}

    def _merge(self, values: Tensor, places: Tensor) -> None:
        """Keep the best of candidates (maps, any) with places (maps, any, 3)."""
        numbers = torch.where(places[..., 0] < 0, torch.iinfo(torch.int64).max, places[..., 0])  # empty places come last
        by_number = numbers.argsort(1)
        order = by_number.gather(1, values.gather(1, by_number).argsort(dim=1, descending=True, stable=True))[:, : self.keep]
        self.values = values.gather(1, order)
        self.places = places.gather(1, order[..., None].expand(-1, -1, 3))
