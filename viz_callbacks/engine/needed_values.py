"""What of a forward pass keeps its numbers: what the way back looks at, and the feature maps. Of all else the shape will do."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from viz_callbacks.engine.layer_trace import IMAGES
from viz_callbacks.engine.registry import what_is_known


class Step(Protocol):
    """A layer in a graph of layers, recorded or not."""

    @property
    def name(self) -> str:
        """The layer's name."""

    @property
    def layer(self) -> nn.Module:
        """The layer."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the layers whose outputs it takes."""


def maps_layer(steps: Sequence[Step], layer: str) -> str:
    """Return the name of the layer whose output a convolution layer's feature maps are: its activation, or else itself.

    >>> from viz_callbacks.engine.graph import trace_network
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2))
    >>> maps_layer(trace_network(network).nodes, "0")
    '2'

    Raises:
        ValueError: there is no such layer.
    """
    names = [step.name for step in steps]
    if layer not in names:
        raise ValueError(f"There is no layer {layer!r}; the network has {', '.join(names)}.")
    end = layer
    while len(users := [step for step in steps if end in step.sources]) == 1:
        known, end = what_is_known(users[0].layer), users[0].name
        if known.is_activation:
            return end
        if not known.before_activation:
            break
    return layer


def needed_values(steps: Sequence[Step], keep: Iterable[str] = ()) -> set[str]:
    """Return the names of the layers whose outputs' numbers are needed, the images among them.

    They are what backward rules look at, the feature maps of convolutions, the last layer's output, and those of ``keep``.

    >>> from viz_callbacks.engine.graph import trace_network
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten())
    >>> sorted(needed_values(trace_network(network).nodes))
    ['', '2', '4']
    """
    needed = {IMAGES, *(step.name for step in steps[-1:]), *keep}
    for step in steps:
        if what_is_known(step.layer).needs_values(step.layer):
            needed.update((step.name, *step.sources))
        if isinstance(step.layer, nn.Conv2d):
            needed.add(maps_layer(steps, step.name))
    return needed


def without_values(value: Tensor) -> Tensor:
    """Return a tensor of this shape and type without numbers, on the device ``meta``: whatever asks for numbers fails."""
    return torch.empty_like(value, device="meta")
