"""What feature maps respond to most: their strongest images, projected one by one, and how that changes as training goes on.

Zeiler and Fergus (ECCV 2014), figure 2: for a map the nine strongest activations over the validation images, each projected
to the pixels by itself, beside the patches of the images that they come from. Figure 4: the strongest activation of a map
at a few epochs; a sudden jump means that another image has become the strongest, so its name stands beside.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from viz_callbacks.deconvolution import end_of_maps, layers_to, place_of
from viz_callbacks.receptive_field import MEMORY_LIMIT, Units, project_units, receptive_field
from viz_callbacks.reverse import as_evaluating, named_layers, record
from viz_callbacks.top_activations import TopActivations

Load = Callable[[Sequence[int]], Tensor]
"""Images by number, (B, 3, H, W), as the network takes them."""


@dataclass(frozen=True)
class Strongest:
    """The strongest activations of one map.

    patches, projections: (K, 3, h, w), the image and the projection within each receptive field; where the field reaches out
    of the image both are 0. values, images: (K,) in falling order. map: its number (from 0).
    """

    map: int
    patches: Tensor
    projections: Tensor
    values: list[float]
    images: list[int]


class Watch:
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

    def __enter__(self) -> "Watch":
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


def strongest(
    network: nn.Module,
    layer: str,
    maps: Sequence[int],
    found: dict[str, Tensor],
    load: Load,
    memory_limit: int = MEMORY_LIMIT,
    batch: int = 32,
) -> Iterator[Strongest]:
    """The pictures of figure 2 for ``maps`` of a layer, from ``found`` = ``TopActivations.compute()`` of that layer.

    ``load`` gives the images, each once, ``batch`` at a time. Places come from ``found``, strengths anew from the network in
    its own precision. All pictures of the layer are made before the first is given.
    """
    chosen = {name: values.cpu()[list(maps)] for name, values in found.items()}  # (maps, keep) each
    filled = chosen["images"] >= 0
    images, rows, columns = (chosen[name][filled] for name in ("images", "rows", "columns"))
    own_maps = torch.tensor(maps)[:, None].expand_as(filled)[filled]
    below = layers_to(network, layer)
    made: list[Tensor] = []  # patches and projections, one by one as in ``images``
    needed = sorted(set(images.tolist()))
    for start in range(0, len(needed), batch):
        numbers = torch.tensor(needed[start : start + batch])
        inputs = load(needed[start : start + batch])
        steps = record(below, inputs)
        field = receptive_field(steps)
        made = made or [inputs.new_empty(len(images), inputs.shape[1], *field.size) for _ in range(2)]
        here = torch.isin(images, numbers).nonzero()[:, 0]
        units = Units(torch.searchsorted(numbers, images[here]), own_maps[here], rows[here], columns[here])
        made[1][here] = project_units(steps, units.to(inputs.device), memory_limit)
        for place, image, row, column in torch.stack([here, units.images, units.rows, units.columns], 1).tolist():
            made[0][place] = field.cut(inputs[image], row, column)
    first = 0
    for k, own, values, numbers in zip(maps, filled, chosen["values"], chosen["images"], strict=True):
        last = first + int(own.sum())
        if last > first:
            patches, projections = (each[first:last] for each in made)
            yield Strongest(k, patches, projections, values[own].tolist(), numbers[own].tolist())
        first = last


def _before_activation(network: nn.Module, layer: str) -> tuple[nn.Module, nn.Module]:
    """The module whose output is what arrives at a convolution layer's activation, and that activation (or none)."""
    named = list(named_layers(network))
    layers = [each for _, each in named]
    own = place_of(named, layer)
    end = end_of_maps(layers, own)
    return (layers[end - 1], as_evaluating(layers[end])) if end > own else (layers[own], nn.Identity())
