"""What feature maps respond to most: their strongest images, projected one by one, and how that changes as training goes on.

Zeiler and Fergus (ECCV 2014), figure 2: for a map the nine strongest activations over the validation images, each projected
to the pixels by itself, beside the patches of the images that they come from. Figure 4: the strongest activation of a map
at a few epochs; a sudden jump means that another image has become the strongest, so its name stands beside.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from viz_callbacks.engine.feature_maps import layers_up_to
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.receptive_field import receptive_field
from viz_callbacks.methods.unit_projection import MEMORY_LIMIT, Units, project_units

Load = Callable[[Sequence[int]], Tensor]
"""Images by number, (B, 3, H, W), as the network takes them."""


@dataclass(frozen=True)
class MapTopActivations:
    """The strongest activations of one map.

    patches, projections: (K, 3, h, w), the image and the projection within each receptive field; where the field reaches out
    of the image both are 0. values, images: (K,) in falling order. map: its number (from 0).
    """

    map: int
    patches: Tensor
    projections: Tensor
    values: list[float]
    images: list[int]


def top_activation_pictures(
    network: nn.Module,
    layer: str,
    maps: Sequence[int],
    found: dict[str, Tensor],
    load: Load,
    memory_limit: int = MEMORY_LIMIT,
    batch: int = 32,
) -> Iterator[MapTopActivations]:
    """The pictures of figure 2 for ``maps`` of a layer, from ``found`` = ``TopActivations.compute()`` of that layer.

    ``load`` gives the images, each once, ``batch`` at a time. Places come from ``found``, strengths anew from the network in
    its own precision. All pictures of the layer are made before the first is given.
    """
    chosen = {name: values.cpu()[list(maps)] for name, values in found.items()}  # (maps, keep) each
    filled = chosen["images"] >= 0
    images, rows, columns = (chosen[name][filled] for name in ("images", "rows", "columns"))
    own_maps = torch.tensor(maps)[:, None].expand_as(filled)[filled]
    below = layers_up_to(network, layer)
    made: list[Tensor] = []  # patches and projections, one by one as in ``images``
    needed = sorted(set(images.tolist()))
    for start in range(0, len(needed), batch):
        numbers = torch.tensor(needed[start : start + batch])
        inputs = load(needed[start : start + batch])
        traces = record(below, inputs)
        field = receptive_field(traces)
        made = made or [inputs.new_empty(len(images), inputs.shape[1], *field.size) for _ in range(2)]
        here = torch.isin(images, numbers).nonzero()[:, 0]
        units = Units(torch.searchsorted(numbers, images[here]), own_maps[here], rows[here], columns[here])
        made[1][here] = project_units(traces, units.to(inputs.device), memory_limit)
        for place, image, row, column in torch.stack([here, units.images, units.rows, units.columns], 1).tolist():
            made[0][place] = field.cut(inputs[image], row, column)
    first = 0
    for k, own, values, numbers in zip(maps, filled, chosen["values"], chosen["images"], strict=True):
        last = first + int(own.sum())
        if last > first:
            patches, projections = (each[first:last] for each in made)
            yield MapTopActivations(k, patches, projections, values[own].tolist(), numbers[own].tolist())
        first = last
