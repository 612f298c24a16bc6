"""What feature maps respond to most: their strongest images, projected one by one, and how that changes as training goes on.

Zeiler and Fergus (ECCV 2014), figure 2: for a map the nine strongest activations over the validation images, each projected
to the pixels by itself, beside the patches of the images that they come from. Figure 4: the strongest activation of a map
at a few epochs; a sudden jump means that another image has become the strongest, so its name stands beside.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.deconvolution import ACTIVATIONS, MAY_COME_BEFORE_ACTIVATION, steps_to
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

    def __init__(self, network: nn.Sequential, layers: Sequence[str], keep: int = 9) -> None:
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
            self.found[layer].update(activation(output), self._numbers)

        return look


def strongest(
    network: nn.Sequential,
    layer: str,
    maps: Sequence[int],
    found: dict[str, Tensor],
    load: Load,
    memory_limit: int = MEMORY_LIMIT,
    batch: int = 32,
) -> Iterator[Strongest]:
    """The pictures of figure 2 for ``maps`` of a layer, from ``found`` = ``TopActivations.compute()`` of that layer.

    ``load`` gives the images. Places come from ``found``, strengths anew from the network in its own precision.
    """
    places = [(k, place) for k in maps for place in range(found["images"].shape[1]) if found["images"][k, place] >= 0]
    images = [int(found["images"][place]) for place in places]
    needed = sorted(set(images))
    pictures: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for start in range(0, len(needed), batch):
        numbers = needed[start : start + batch]
        inputs = load(numbers)
        steps = steps_to(record(network, inputs), layer)
        field = receptive_field(steps)
        here = [place for place, image in zip(places, images, strict=True) if image in numbers]
        columns = [[numbers.index(int(found["images"][place])) for place in here], [k for k, _ in here]]
        columns += [[int(found[name][place]) for place in here] for name in ("rows", "columns")]
        units = Units(*(torch.tensor(column, device=inputs.device) for column in columns))
        projections = project_units(steps, units, memory_limit)
        for place, image, projection, row, column in zip(here, columns[0], projections, *columns[2:], strict=True):
            pictures[place] = (_cut(inputs[image], field.box(row, column)), projection)
    for k in maps:
        own = [place for place in places if place[0] == k]
        if own:
            patches, projections = (torch.stack([pictures[place][part] for place in own]) for part in range(2))
            values = [float(found["values"][place]) for place in own]
            yield Strongest(k, patches, projections, values, [int(found["images"][place]) for place in own])


def _cut(image: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """What lies in a box of an image (C, H, W); 0 where it reaches out of the image."""
    top, left, bottom, right = box
    height, width = image.shape[1:]
    padded = F.pad(image, (max(0, -left), max(0, right - width), max(0, -top), max(0, bottom - height)))
    top, left = max(0, top), max(0, left)
    return padded[:, top : top + bottom - box[0], left : left + right - box[1]]


def _before_activation(network: nn.Sequential, layer: str) -> tuple[nn.Module, nn.Module]:
    """The module whose output is what arrives at a convolution layer's activation, and that activation (or none)."""
    layers = list(named_layers(network))
    names = [name for name, _ in layers]
    if layer not in names:
        raise ValueError(f"There is no layer {layer!r}; the network has {', '.join(names)}.")
    last = names.index(layer)
    for _, following in layers[last + 1 :]:
        if isinstance(following, ACTIVATIONS):
            return layers[last][1], as_evaluating(following)
        if not isinstance(following, MAY_COME_BEFORE_ACTIVATION):
            break
        last += 1
    return layers[names.index(layer)][1], nn.Identity()
