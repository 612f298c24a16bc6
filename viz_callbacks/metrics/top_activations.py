"""The strongest activations of each feature map over many images, collected while the images pass by.

For each map the K images with the largest maxima, one place in each image: Zeiler and Fergus (ECCV 2014, figure 2) show nine
"top activations" of a map "across the validation data". They don't say whether two of the nine may come from one image; here
each image counts once, with its strongest place.

Ties are settled so that the order of the images and the division into batches and processes don't matter: of equally strong
images the one with the smaller number comes first, of equally strong places in an image the first in row-major order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from viz_callbacks.engine.feature_maps import activation_index, layer_index
from viz_callbacks.engine.forward import eval_copy, named_layers


def as_they_are(maps: Tensor) -> Tensor:
    """No activation."""
    return maps


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

    def update(self, feature_maps: Tensor, images: Tensor, activation: Callable[[Tensor], Tensor] = as_they_are) -> None:
        """``feature_maps`` (N, maps, H, W) of the images numbered ``images`` (N,). No image may come twice.

        ``activation`` is still to be applied to the maps; it must never fall. Then the largest value is where the activation is
        largest, and only maps that come among the strongest need be looked into further.
        """
        values = activation(feature_maps.amax((2, 3))).float()
        near = values >= self.values[:, -1]
        image, map_ = near.nonzero(as_tuple=True)
        inside = activation(feature_maps[image, map_]).flatten(1).argmax(1)  # of equal ones the first in row-major order
        width = feature_maps.shape[3]
        places = self.places.new_full((*values.shape, 3), -1)
        places[image, map_] = torch.stack([images.to(image)[image], inside // width, inside % width], 1)
        values = values.masked_fill(~near, -torch.inf)
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


class TopActivationHooks:
    """Collects the strongest activations of the convolution ``layers`` while a network evaluates: a context manager.

    ``show(numbers)`` tells the numbers of the images of the batch that comes next; a batch without is not watched. Works
    whether or not pools are computed before activations (``nn.ReLU`` and a max pool may change places), since it looks at what
    arrives at the activation and applies that itself.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], keep: int = 9) -> None:
        self.found: dict[str, TopActivations] = {}
        self.keep = keep
        self._numbers: Tensor | None = None
        self._places = [(layer, *_before_activation(network, layer)) for layer in layers]
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "TopActivationHooks":
        self._handles = [
            before.register_forward_hook(self._hook(layer, activation)) for layer, before, activation in self._places
        ]
        return self

    def __exit__(self, *problem: object) -> None:
        for handle in self._handles:
            handle.remove()

    def show(self, numbers: Tensor | None) -> None:
        """The numbers (B,) of the next batch's images, None for a batch that isn't watched."""
        self._numbers = numbers

    def _hook(self, layer: str, activation: nn.Module) -> Callable[[nn.Module, object, Tensor], None]:
        def look(module: nn.Module, arguments: object, output: Tensor) -> None:
            if self._numbers is None:
                return
            if layer not in self.found:
                self.found[layer] = TopActivations(output.shape[1], self.keep).to(output.device)
            self.found[layer].update(output, self._numbers, activation)

        return look


def _before_activation(network: nn.Module, layer: str) -> tuple[nn.Module, nn.Module]:
    """The module whose output is what arrives at a convolution layer's activation, and that activation (or none)."""
    named = list(named_layers(network))
    layers = [each for _, each in named]
    own = layer_index(named, layer)
    end = activation_index(layers, own)
    return (layers[end - 1], eval_copy(layers[end])) if end > own else (layers[own], nn.Identity())
