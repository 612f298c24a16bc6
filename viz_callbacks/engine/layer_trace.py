"""What one layer leaves behind on the way down, for the way back."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

IMAGES = ""
"""The source that stands for the images, where others have a layer's name."""


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer of a recorded forward pass, with all that its backward rule needs.

    Attributes:
        name: the layer's name in the network, dotted, such as ``features.0``; of a function the name that torch.fx gives it.
        layer: shares its weights with the network's own layer, but is evaluating (no dropout, running statistics) and never in
            place. A function is the layer that does the same.
        inputs: what came into the layer, (N, ...) each.
        sources: the names of the layers that these came from, ``IMAGES`` for the images.
        output: y, what came out of it, (N, ...). It and the inputs are on the device ``meta``, with a shape and no numbers,
            where ``record`` kept none.
        switches: of a max pooling, shaped like ``output``: where in ``input``, in row-major order, each maximum was.
        closed: why a layer that is made of others couldn't be opened up; '' for one that isn't.
    """

    name: str
    layer: nn.Module
    inputs: tuple[Tensor, ...]
    sources: tuple[str, ...]
    output: Tensor
    switches: Tensor | None = None
    closed: str = ""

    @property
    def input(self) -> Tensor:
        """x, what came into the layer; the first, where it takes several."""
        return self.inputs[0]


def slice_traces(traces: Sequence[LayerTrace], images: slice | Tensor) -> list[LayerTrace]:
    """Return the traces of some of the images: what ``record(network, all_images[images])`` gives.

    >>> import torch
    >>> trace = LayerTrace("0", nn.Identity(), (torch.zeros(8, 3, 5, 5),), (IMAGES,), torch.zeros(8, 3, 5, 5))
    >>> slice_traces([trace], slice(2))[0].output.shape
    torch.Size([2, 3, 5, 5])

    Args:
        traces: of N images.
        images: which of them. A slice gives views, numbers (B,) of int64 give copies.
    """
    return [
        LayerTrace(
            trace.name,
            trace.layer,
            tuple(each[images] for each in trace.inputs),
            trace.sources,
            trace.output[images],
            None if trace.switches is None else trace.switches[images],
            trace.closed,
        )
        for trace in traces
    ]
