"""What feature maps respond to most: their strongest images, projected one by one, and how that changes as training goes on.

Zeiler and Fergus (ECCV 2014), figure 2: for a map the nine strongest activations over the validation images, each projected
to the pixels by itself, beside the patches of the images that they come from. Figure 4: the strongest activation of a map
at a few epochs; a sudden jump means that another image has become the strongest, so its name stands beside.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from viz_callbacks.engine.feature_maps import trace_up_to
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.graph import trace_network
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.needed_values import maps_layer
from viz_callbacks.engine.receptive_field import receptive_field
from viz_callbacks.methods.crops import Crop
from viz_callbacks.methods.unit_projection import MEMORY_LIMIT, Units, is_windowed, project_units

LoadImages = Callable[[Sequence[int]], Tensor]
"""Images by number, (B, 3, H, W), as the network takes them."""


@dataclass(frozen=True)
class MapTopActivations:
    """The strongest activations of one map, K of them, strongest first.

    Attributes:
        map_index: the map's number, from 0.
        patches: what of the image lies in each receptive field, (K, 3, h, w); 0 where the field reaches out of the image.
        projections: of the same places, (K, 3, h, w).
        values: the activations.
        images: the numbers of the images.
    """

    map_index: int
    patches: Tensor
    projections: Tensor
    values: list[float]
    images: list[int]


def most_selective(top_activations: dict[str, Tensor], count: int) -> list[int]:
    """Return the numbers of the most selective maps of a layer, those of the greatest sparseness first.

    They are sought in the half of the maps whose weakest activation that is kept is the strongest; the others come after them.
    A map that is nearly dead has a great sparseness too, and is no good example.

    >>> values = torch.tensor([[3.0, 0.1], [2.0, 1.0], [4.0, 3.0], [1.0, 0.0]])
    >>> most_selective({"values": values, "sparseness": torch.tensor([0.9, 0.2, 0.5, 1.0])}, count=3)
    [2, 1, 3]

    Args:
        top_activations: as for ``project_top_activations``.
        count: how many.
    """
    weakest = top_activations["values"][:, -1]
    strong = (weakest > 0) & (weakest >= weakest.quantile(0.5))
    return [int(k) for k in (strong + top_activations["sparseness"]).argsort(descending=True, stable=True)[:count]]


def evenly_spaced(count: int, maps: int) -> list[int]:
    """Return the numbers of ``count`` of so many maps, evenly spaced."""
    return [round(number * maps / count) for number in range(count)]


def keep_strongest(top_activations: dict[str, Tensor], keep: int) -> dict[str, Tensor]:
    """Return the ``keep`` strongest activations of each map, of those that there are."""
    return {name: each[:, :keep] if each.ndim > 1 else each for name, each in top_activations.items()}


def project_top_activations(
    network: nn.Module,
    layer: str,
    maps: Sequence[int],
    top_activations: dict[str, Tensor],
    load: LoadImages,
    memory_limit: int = MEMORY_LIMIT,
    batch_size: int = 32,
) -> Iterator[MapTopActivations]:
    """Yield patches and projections of the strongest activations of some maps of a layer, those of figure 2.

    All maps of the layer are projected before the first is given. A map without any image is left out.

    >>> network, images = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU()), torch.randn(6, 3, 20, 20)
    >>> top = {"values": torch.ones(4, 1), **dict.fromkeys(("images", "rows", "columns"), torch.full((4, 1), 2))}
    >>> [found] = project_top_activations(network, "0", [3], top, load=lambda numbers: images[list(numbers)])
    >>> found.map_index, found.images, found.patches.shape
    (3, [2], torch.Size([1, 3, 5, 5]))

    Args:
        network: as for ``record``.
        layer: the name of a convolution layer.
        maps: numbers of its maps.
        top_activations: of that layer, as ``metrics.top_activations.TopActivations.compute()`` gives them. Places come from
            there, strengths anew from the network in its own precision.
        load: gives the images by number, each once.
        memory_limit: bytes for the largest tensors of a batch of projections.
        batch_size: images in a forward pass.

    Raises:
        ValueError: there is no such layer.
    """
    found = ("values", "images", "rows", "columns")
    chosen = {name: top_activations[name].cpu()[list(maps)] for name in found}  # (maps, keep) each
    filled = chosen["images"] >= 0
    images, rows, columns = (chosen[name][filled] for name in ("images", "rows", "columns"))
    own_maps = torch.tensor(maps)[:, None].expand_as(filled)[filled]
    end = maps_layer(trace_network(network).nodes, layer)

    def trace(inputs: Tensor) -> list[LayerTrace]:
        return trace_up_to(record(network, inputs, until=end), layer)

    made: list[Tensor] = []  # patches and projections, one by one as in ``images``
    needed = sorted(set(images.tolist()))
    for start in range(0, len(needed), batch_size):
        numbers = needed[start : start + batch_size]
        inputs = load(numbers)
        if not made:
            example = trace(inputs[:1])
            field = receptive_field(example)
            crop = Crop.around(field, inputs.shape[2:]) if is_windowed(example) else None
            if crop and len(images) * crop.area >= len(needed) * inputs[0, 0].numel():  # no less than all images whole
                crop = None
            made = [inputs.new_empty(len(images), inputs.shape[1], *field.size) for _ in range(2)]
        patches, projections = made
        here = torch.isin(images, torch.tensor(numbers)).nonzero()[:, 0]
        units = Units(torch.searchsorted(torch.tensor(numbers), images[here]), own_maps[here], rows[here], columns[here])
        if crop:
            at_once = max(1, batch_size * inputs[0, 0].numel() // crop.area)
            parts = [(here[i : i + at_once], *crop.cut(inputs, units[i : i + at_once])) for i in range(0, len(here), at_once)]
        else:
            parts = [(here, inputs, units)]
        for places, seen, own in parts:
            projections[places] = project_units(trace(seen), own.to(seen.device), memory_limit)
        for place, image, row, column in torch.stack([here, units.images, units.rows, units.columns], 1).tolist():
            patches[place] = field.crop(inputs[image], row, column)
    first = 0
    for k, own, values, numbers_of_map in zip(maps, filled, chosen["values"], chosen["images"], strict=True):
        last = first + int(own.sum())
        if last > first:
            patches, projections = (each[first:last] for each in made)
            yield MapTopActivations(k, patches, projections, values[own].tolist(), numbers_of_map[own].tolist())
        first = last
