"""How many feature maps of a layer are dead."""

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.engine.hooks import FeatureMapHooks


class DeadMaps(Metric):
    """The number of a layer's feature maps that are dead: one and the same value everywhere in all images.

    Range 0 to the number of maps, lower is better. Zeiler and Fergus (ECCV 2014, section 4.1) see "dead" features in the first
    layer of AlexNet, without a definition. The more images are seen, the fewer maps count as dead.

    Args:
        maps: the layer's number of maps.
    """

    higher_is_better = False
    full_state_update = False
    lowest: Tensor
    highest: Tensor

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.add_state("lowest", torch.full((maps,), torch.inf), dist_reduce_fx="min")
        self.add_state("highest", torch.full((maps,), -torch.inf), dist_reduce_fx="max")

    def update(self, feature_maps: Tensor) -> None:
        """Look at ``feature_maps`` (N, maps, H, W)."""
        self.lowest = torch.minimum(self.lowest, feature_maps.amin((0, 2, 3)).float())
        self.highest = torch.maximum(self.highest, feature_maps.amax((0, 2, 3)).float())

    def compute(self) -> Tensor:
        """Return the number of dead maps."""
        return (self.lowest == self.highest).sum()


class DeadMapHooks(FeatureMapHooks):
    """Counts the dead maps of all convolution layers while a network evaluates: a context manager.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU())
    >>> with DeadMapHooks(network) as hooks:
    ...     _ = network(torch.zeros(6, 3, 20, 20))
    >>> int(hooks.metrics["0"].compute())
    4

    Args:
        network: as for ``record``.

    Attributes:
        watching: whether the next batch counts.
        metrics: a ``DeadMaps`` for each layer, from its first batch on.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, convolution_layers(network))
        self.watching = True
        self.metrics: dict[str, DeadMaps] = {}

    def watch(self, layer: str, maps: Tensor, activation: nn.Module) -> None:
        """Look at the maps of a batch, if it counts."""
        if not self.watching:
            return
        if layer not in self.metrics:
            self.metrics[layer] = DeadMaps(maps.shape[1]).to(maps.device)
        self.metrics[layer].update(activation(maps))
