"""The metrics that a training can afford after each epoch, on a few images.

They are those of ``projection_metrics``, and beside them::

    change/conv1 change/denet change/gradient   how much a projection has changed since the last time (CosineDistance)

The controls (deletion to randomised) cost the most. They are taken on the first CONTROLLED images, with CURVE_STEPS steps,
and with random weights in the output layer, in the dense part and in all layers; and not every time, if the caller likes.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from viz_callbacks.engine.layer_trace import LayerTrace, slice_traces
from viz_callbacks.metrics.projection_metrics import PERIODS, ProjectionMetrics
from viz_callbacks.metrics.similarity import CosineDistance

CONTROLLED = 2
CURVE_STEPS = 4


def epoch_metrics(
    network: nn.Module,
    traces: Sequence[LayerTrace],
    targets: Tensor,
    masks: Tensor,
    projections: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
    periods: Sequence[int] = PERIODS,
    controls: bool = True,
) -> dict[str, float]:
    """Return the metrics by name; those that have nothing to measure are left out.

    Args:
        network: that which is looked at.
        traces: of the network, from images (N, C, H, W).
        targets: the true classes, (N,) of int64.
        masks: (N, H, W) of bool, true on the object, false everywhere where it is not known.
        projections: of these images by name, those of ``ProjectionMetrics.project``.
        before: the projections of the last time, on any device; empty for the first time.
        periods: grids to look for, in pixels.
        controls: whether to take the costly ones.
    """
    metrics = ProjectionMetrics(network, periods, curve_steps=CURVE_STEPS, randomised_layers=_three_depths(traces))
    metrics.update(projections, traces[0].input, masks)
    if controls:
        few = slice(CONTROLLED)
        metrics.update_controls(
            slice_traces(traces, few), targets[few], {name: projection[few] for name, projection in projections.items()}
        )
    found = metrics.compute()
    for name, projection in projections.items():
        if name in before:
            found[f"change/{name}"] = float(CosineDistance()(before[name].to(projection.device), projection))
    return {name: value for name, value in found.items() if value == value}  # NaN: there was nothing to measure


def _three_depths(traces: Sequence[LayerTrace]) -> list[str]:
    """Return the output layer, the first dense and the first of all layers with weights; fewer where they are the same."""
    weighted = [trace.name for trace in traces if isinstance(trace.layer, nn.Conv2d | nn.Linear)]
    dense = [trace.name for trace in traces if isinstance(trace.layer, nn.Linear)]
    return sorted({weighted[-1], *dense[:1], weighted[0]})
