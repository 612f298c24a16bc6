"""The strongest activations of each feature map over many images, collected while the images pass by.

For each map the K images with the largest maxima, one place in each image: Zeiler and Fergus (ECCV 2014, figure 2) show nine
"top activations" of a map "across the validation data". They don't say whether two of the nine may come from one image; here
each image counts once, with its strongest place.

Ties are settled so that the order of the images and the division into batches and processes don't matter: of equally strong
images the one with the smaller number comes first, of equally strong places in an image the first in row-major order.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from viz_callbacks.engine.hooks import FeatureMapHooks


class TopActivations(Metric):
    """The ``keep`` strongest images of each of ``maps`` feature maps, with values and places, and how selective a map is.

    Selective is a map that a few images excite strongly and the others hardly. Its sparseness over the images says so (Vinje
    and Gallant, Science 2000, for the responses of one neuron): with r_i its largest activation in image i of n, 0 where that
    is negative,

        S = (1 - (sum of r_i / n)^2 / (sum of r_i^2 / n)) / (1 - 1 / n)

    from 0, where all images excite it alike, to 1, where a single one does; 0 for a map that is never positive.

    >>> top = TopActivations(maps=1, keep=2)
    >>> top.update(torch.tensor([[[[1.0, 3.0]]], [[[2.0, 0.0]]], [[[4.0, 0.0]]]]), images=torch.tensor([7, 8, 9]))
    >>> top.compute()["images"].tolist()
    [[9, 7]]

    Args:
        maps: the layer's number of maps.
        keep: how many images to keep of each.
    """

    full_state_update = False
    values: Tensor
    places: Tensor
    sums: Tensor
    squares: Tensor
    seen: Tensor

    def __init__(self, maps: int, keep: int = 9) -> None:
        super().__init__()
        self.keep = keep
        self.add_state("values", torch.full((maps, keep), -torch.inf), dist_reduce_fx=None)
        self.add_state("places", torch.full((maps, keep, 3), -1), dist_reduce_fx=None)  # image, row, column
        self.add_state("sums", torch.zeros(maps), dist_reduce_fx="sum")
        self.add_state("squares", torch.zeros(maps), dist_reduce_fx="sum")
        self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, feature_maps: Tensor, images: Tensor, activation: Callable[[Tensor], Tensor] | None = None) -> None:
        """Look at the maps of a batch.

        Args:
            feature_maps: (N, maps, H, W).
            images: the numbers (N,) of their images. None may come twice.
            activation: still to be applied to the maps; it must never fall. Then the largest value is where the activation is
                largest, and only maps that come among the strongest need be looked into further.
        """
        activation = activation or nn.Identity()
        values = activation(feature_maps.amax((2, 3))).float()
        excitation = values.clamp(min=0)
        self.sums += excitation.sum(0)
        self.squares += excitation.square().sum(0)
        self.seen += len(values)
        near = values >= self.values[:, -1]
        image, k = near.nonzero(as_tuple=True)
        inside = activation(feature_maps[image, k]).flatten(1).argmax(1)  # of equal ones the first in row-major order
        width = feature_maps.shape[3]
        places = self.places.new_full((*values.shape, 3), -1)
        places[image, k] = torch.stack([images.to(image)[image], inside // width, inside % width], 1)
        values = values.masked_fill(~near, -torch.inf)
        self._merge(torch.cat([self.values, values.T], 1), torch.cat([self.places, places.transpose(0, 1)], 1))

    def compute(self) -> dict[str, Tensor]:
        """Return the strongest so far, of all processes together.

        Returns:
            ``values`` (maps, keep) in falling order; ``images``, ``rows`` and ``columns`` (maps, keep) of int64. Where there
            were fewer images, the image is -1 and the value -inf. ``sparseness`` (maps,), 0 to 1.
        """
        if self.values.ndim == 3:  # one more axis in front: the processes
            self._merge(self.values.transpose(0, 1).flatten(1), self.places.transpose(0, 1).flatten(1, 2))
        images, rows, columns = self.places.unbind(2)
        unevenness = 1 - self.sums.square() / (self.seen * self.squares)
        sparseness = (unevenness / (1 - 1 / self.seen)).nan_to_num(0, 0, 0).clamp(0, 1)
        return {"values": self.values, "images": images, "rows": rows, "columns": columns, "sparseness": sparseness}

    def _merge(self, values: Tensor, places: Tensor) -> None:
        """Keep the best of candidates (maps, any) with places (maps, any, 3)."""
        numbers = torch.where(places[..., 0] < 0, torch.iinfo(torch.int64).max, places[..., 0])  # empty places come last
        by_number = numbers.argsort(1)
        order = by_number.gather(1, values.gather(1, by_number).argsort(dim=1, descending=True, stable=True))[:, : self.keep]
        self.values = values.gather(1, order)
        self.places = places.gather(1, order[..., None].expand(-1, -1, 3))


class TopActivationHooks(FeatureMapHooks):
    """Collects the strongest activations of convolution layers while a network evaluates: a context manager.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU())
    >>> with TopActivationHooks(network, ["0"]) as hooks:
    ...     hooks.set_batch_indices(torch.arange(6))
    ...     _ = network(torch.randn(6, 3, 20, 20))
    >>> hooks.metrics["0"].compute()["images"].shape
    torch.Size([4, 9])

    Args:
        network: as for ``record``.
        layers: names of convolution layers.
        keep: how many images to keep of each map.

    Attributes:
        metrics: a ``TopActivations`` for each layer, from its first batch on.

    Raises:
        ValueError: there is no such layer.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], keep: int = 9) -> None:
        super().__init__(network, layers)
        self.metrics: dict[str, TopActivations] = {}
        self.keep = keep
        self._batch_indices: Tensor | None = None

    def set_batch_indices(self, indices: Tensor | None) -> None:
        """Tell the numbers (B,) of the next batch's images, or None for a batch that is to be left out."""
        self._batch_indices = indices

    def watch(self, layer: str, maps: Tensor, activation: nn.Module) -> None:
        """Look at the maps of a batch, unless it is to be left out."""
        if self._batch_indices is None:
            return
        if layer not in self.metrics:
            self.metrics[layer] = TopActivations(maps.shape[1], self.keep).to(maps.device)
        self.metrics[layer].update(maps, self._batch_indices, activation)
