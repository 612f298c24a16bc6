"""How many feature maps of a layer are dead."""

import torch
from torch import Tensor
from torchmetrics import Metric


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
