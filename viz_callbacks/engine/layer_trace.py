"""What one layer leaves behind on the way down, for the way back."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer on the way down, with all that its reverse needs.

    ``layer`` shares its weights with the network's own layer, but is evaluating (no dropout, running statistics) and never in
    place. ``switches`` are a max pooling's indices into the rows times columns of its input, shaped like ``output``.
    """

    name: str
    layer: nn.Module
    input: Tensor
    output: Tensor
    switches: Tensor | None = None


def slice_traces(traces: Sequence[LayerTrace], images: slice) -> list[LayerTrace]:
    """Return the traces of some of the images, without copying: those of ``record(network, all_images[images])``."""
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
