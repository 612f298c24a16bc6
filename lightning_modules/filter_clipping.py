"""Convolution filters kept from growing: those longer than a fixed radius are brought back to it after each step.

Zeiler and Fergus (Visualizing and Understanding Convolutional Networks, ECCV 2014, section 3) saw a few first-layer filters
dominate, and "renormalize each filter in the convolutional layers whose RMS value exceeds a fixed radius of 10^-1 to this fixed
radius". With RMS(w_k) the root of the mean of the squares of filter k and r the radius:

    w_k <- w_k r / RMS(w_k)   where RMS(w_k) > r

The paper's radius belongs to inputs in grey levels, "roughly in the [-128, 128] range". A network whose input is divided by s
grey levels computes the same when its first filters are multiplied by s, so the first layer's radius is s r. What comes after
it is the same for either input, and so is the radius of all other layers.
"""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

ROUNDING = 1e-5  # a filter just brought back to the radius is not longer than it, whatever float32 makes of it


@torch.no_grad()
def clip_filters(weights: Tensor, radius: float) -> Tensor:
    """Bring filters whose root mean square exceeds ``radius`` back to it, in place; leave the others as they are.

    Args:
        weights: of a convolution (K, C, h, w), as in ``layer.weight``.
        radius: largest root mean square of a filter, in the weights' own scale.

    Returns:
        (K,) bool: which filters were too long.

    Raises:
        ValueError: the radius is not above 0.
    """
    if not radius > 0:
        raise ValueError(f"radius={radius}: the largest root mean square of a filter must be above 0")
    rms = weights.square().mean((1, 2, 3), keepdim=True).sqrt()
    clipped = rms > radius * (1 + ROUNDING)
    weights.mul_(torch.where(clipped, radius / rms, 1.0))  # by 1 changes no bit; picking out rows would make a GPU wait
    return clipped.flatten()


class FilterClipping(Callback):
    """A callback that clips the filters of all convolution layers after each step and counts them.

    Logs ``clipped/<layer>`` for each epoch: how many different filters of the layer were clipped at least once.

    Args:
        radius: largest root mean square of a filter, for inputs in grey levels; Zeiler and Fergus: 0.1.
        input_scale: grey levels in one unit of the network's input. The first layer's radius is ``radius`` times this.
        network: name of the LightningModule's attribute that holds the network.
    """

    def __init__(self, radius: float, input_scale: float, network: str = "network") -> None:
        self.radius = radius
        self.input_scale = input_scale
        self.network = network
        self.clipped: dict[str, Tensor] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from 0."""
        self.clipped = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Clip the filters that the optimiser's step made too long."""
        network: nn.Module = getattr(pl_module, self.network)
        radius = self.radius * self.input_scale
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d):
                clipped = clip_filters(layer.weight, radius)
                self.clipped[name] = self.clipped[name] | clipped if name in self.clipped else clipped
                radius = self.radius  # of all layers after the first

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the counts, which are the same in every process, as all have the same weights."""
        for name, clipped in self.clipped.items():
            pl_module.log(f"clipped/{name}", clipped.sum().float(), logger=False)
