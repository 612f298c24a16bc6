"""The strongest activations of each feature map over many images, collected while the images pass by.

For each map the K images with the largest maxima, one place in each image: Zeiler and Fergus (ECCV 2014, figure 2) show nine
"top activations" of a map "across the validation data". They don't say whether two of the nine may come from one image; here
each image counts once, with its strongest place.

Ties are settled so that the order of the images and the division into batches and processes don't matter: of equally strong
images the one with the smaller number comes first, of equally strong places in an image the first in row-major order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torchmetrics import Metric

from viz_callbacks.engine.copies import eval_copy
from viz_callbacks.engine.feature_maps import maps_layer
from viz_callbacks.engine.graph import trace_network


class TopActivations(Metric):
    """The ``keep`` strongest images of each of ``maps`` feature maps, with values and places.

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

    def __init__(self, maps: int, keep: int = 9) -> None:
        super().__init__()
        self.keep = keep
        self.add_state("values", torch.full((maps, keep), -torch.inf), dist_reduce_fx=None)
        self.add_state("places", torch.full((maps, keep, 3), -1), dist_reduce_fx=None)  # image, row, column

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
            were fewer images, the image is -1 and the value -inf.
        """
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
    """Collects the strongest activations of convolution layers while a network evaluates: a context manager.

    There are hooks on the network inside the ``with`` block only. Works whether or not pools are computed before activations
    (``nn.ReLU`` and a max pool may change places), since it looks at what arrives at the activation and applies that itself. Of
    a convolution that the network uses several times it watches the use that the layer's name means.

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
        self.metrics: dict[str, TopActivations] = {}
        self.keep = keep
        self._batch_indices: Tensor | None = None
        self._watched = [_watch(network, layer) for layer in layers]
        self._calls: dict[str, int] = {}  # of each layer's hooked module in this batch
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "TopActivationHooks":
        self._handles = [watched.module.register_forward_hook(self._hook(watched)) for watched in self._watched]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        problem: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def set_batch_indices(self, indices: Tensor | None) -> None:
        """Tell the numbers (B,) of the next batch's images, or None for a batch that is to be left out."""
        self._batch_indices = indices
        self._calls = {}

    def _hook(self, watched: "_Watched") -> Callable[[nn.Module, object, Tensor], None]:
        def update(module: nn.Module, arguments: object, output: Tensor) -> None:
            call = self._calls.get(watched.layer, 0)
            self._calls[watched.layer] = call + 1
            if self._batch_indices is None or call != watched.use:
                return
            if not watched.rises:
                output = watched.activation(output)
            if watched.layer not in self.metrics:
                self.metrics[watched.layer] = TopActivations(output.shape[1], self.keep).to(output.device)
            self.metrics[watched.layer].update(output, self._batch_indices, watched.activation if watched.rises else None)

        return update


RISING = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Softplus, nn.ELU, nn.SELU)
"""Activations that never fall: the largest value comes from the largest. GELU, SiLU and the like have a dip."""


@dataclass(frozen=True)
class _Watched:
    """What is watched of a convolution layer.

    Attributes:
        layer: its name.
        module: that whose output arrives at the layer's activation.
        use: how many times the network has called it before, in a forward pass.
        activation: what still becomes of that output.
        rises: whether that never falls.
    """

    layer: str
    module: nn.Module
    use: int
    activation: nn.Module
    rises: bool


def _watch(network: nn.Module, layer: str) -> _Watched:
    nodes = trace_network(network).nodes
    end = maps_layer(nodes, layer)
    by_name = {node.name: node for node in nodes}
    after = [by_name[end]]  # from the layer to its activation, last to first
    while after[-1].name != layer:
        after.append(by_name[after[-1].sources[0]])
    own = set(network.modules())
    hooked = next(node for node in after if node.layer in own and (node.name != end or end == layer))
    use = [node.name for node in nodes if node.layer is hooked.layer].index(hooked.name)
    rest = [eval_copy(node.layer) for node in reversed(after[: after.index(hooked)])]
    rises = all(isinstance(each, RISING) or type(each) in (nn.Dropout, nn.Dropout2d, nn.Identity) for each in rest)
    return _Watched(layer, hooked.layer, use, nn.Sequential(*rest), rises)
