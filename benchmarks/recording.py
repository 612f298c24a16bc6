"""What a recorded forward pass keeps, against one that keeps every layer's output: memory and time.

``python -m benchmarks recording``: the pictures that follow are the same, which the tests compare.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.timing import Row, in_turns, rates
from benchmarks.transposed import networks
from viz_callbacks.engine.forward import named_layers, record
from viz_callbacks.engine.layer_trace import LayerTrace

IMAGES = 8


def recording(repeats: int) -> list[Row]:
    """Record a pass with what the way back needs, and with all, for this project's networks and one of torchvision's."""
    torch.manual_seed(0)
    rows = []
    for name, network, size in networks():
        images = torch.randn(IMAGES, 3, size, size)
        rows += kept_against_all(f"{name}, {IMAGES} images of {size} px", network, images, repeats)
    return rows


def kept_against_all(name: str, network: nn.Module, images: Tensor, repeats: int) -> list[Row]:
    """Compare the bytes that the traces hold, images and weights aside, and the time of the pass."""
    everything = [layer for layer, _ in named_layers(network)]
    kept, held = (_megabytes(record(network, images, keep=keep), images) for keep in ((), everything))
    ours, theirs = in_turns([lambda: record(network, images), lambda: record(network, images, keep=everything)], repeats)
    share = Row(f"traces of {name}", kept, held, "MB", kept / held, None, "of what all layers' outputs take")
    return [share, rates(f"record {name}", ours, theirs, IMAGES, "images/s", "times as fast as keeping all outputs")]


def _megabytes(traces: Sequence[LayerTrace], images: Tensor) -> float:
    """Return what the numbers in traces take together; what lies in one place, such as a view, counts once."""
    tensors = [each for trace in traces for each in (*trace.inputs, trace.output, trace.switches)]
    stored = [each.untyped_storage() for each in tensors if each is not None and not each.is_meta]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in stored}
    return (sum(sizes.values()) - images.untyped_storage().nbytes()) / 1e6
