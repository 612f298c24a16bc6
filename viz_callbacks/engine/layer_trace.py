"""What one layer leaves behind on the way down, for the way back."""

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
