"""What one layer leaves behind on the way down, for the way back."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer of a recorded forward pass, with all that its backward rule needs.

    Attributes:
        name: the layer's name in the network, dotted, such as ``features.0``.
        layer: shares its weights with the network's own layer, but is evaluating (no dropout, running statistics) and never in
            place.
        input: x, what came into the layer, (N, ...).
        output: y, what came out of it, (N, ...).
        switches: of a max pooling, shaped like ``output``: where in the rows times columns of ``input`` each maximum was.
    """

    name: str
    layer: nn.Module
    input: Tensor
    output: Tensor
    switches: Tensor | None = None


def slice_traces(traces: Sequence[LayerTrace], images: slice) -> list[LayerTrace]:
    """Return the traces of some of the images, as views: what ``record(network, all_images[images])`` gives.

    >>> import torch
    >>> trace = LayerTrace("0", nn.Identity(), torch.zeros(8, 3, 5, 5), torch.zeros(8, 3, 5, 5))
    >>> slice_traces([trace], slice(2))[0].output.shape
    torch.Size([2, 3, 5, 5])
    """
    return [
        LayerTrace(
            trace.name,
            trace.layer,
            trace.input[images],
            trace.output[images],
            None if trace.switches is None else trace.switches[images],
        )
        for trace in traces
    ]
