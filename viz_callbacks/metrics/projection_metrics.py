"""All metrics of a network's projections over some images.

A projection is called by the convolution layer that Deconvolution starts from, ``denet`` for DeNet of the true class, and
``gradient`` for the plain gradient, the control. A metric's name is that of what it measures and of the projection::

    grid2/conv2 grid4/conv2      block artefacts of period 2 and 4 pixels (Blockiness)
    detail/denet                 how much of the image's fine structure is shown (EdgeCorrelation)
    inside/conv5 inside/chance   share of the energy on the object, and the object's share of the area (EnergyPointingGame)
    pointing/conv5               how often the strongest pixel is on the object (PointingGame); chance is inside/chance too
    deletion/denet insertion/denet    the true class's probability as pixels go or come, strongest first
    likeness/denet               how alike DeNet of different classes is on one image (PairwiseCosine), with two controls:
    likeness/random_start        DeNet's way back from random vectors instead of classes
    likeness/random_weights      DeNet of the classes in the network with all weights randomised
    randomised/denet/fc7         how alike the projection stays when all layers from fc7 to the output are randomised
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection

from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet, project_vector
from viz_callbacks.methods.gradient import gradient
from viz_callbacks.methods.sanity_checks import cascading_randomization, deletion_curve, insertion_curve
from viz_callbacks.metrics.blockiness import Blockiness
from viz_callbacks.metrics.faithfulness import Deletion, Insertion
from viz_callbacks.metrics.localisation import EnergyPointingGame, MaskArea, PointingGame
from viz_callbacks.metrics.per_image import PerImageMetric
from viz_callbacks.metrics.similarity import EdgeCorrelation, PairwiseCosine, RankCorrelation

PERIODS = (2, 4)  # pixels: the strides of ZFNet's and AlexNet's first layer

DeNet = Callable[[Sequence[LayerTrace], Tensor], Tensor]
"""One variant of DeNet: the traces of all layers and a class for each image to projections (N, C, H, W)."""


class ProjectionMetrics:
    """Measures the projections of a network over images that come in batches.

    It takes a forward pass and projections that are there already, so that a caller can share them::

        traces = record(network, images)
        projections = metrics.project(traces, targets)  # or from anywhere else
        metrics.update(projections, images, masks)
        metrics.update_controls(traces, targets, projections)  # costs the most: give it few images

    Args:
        network: its layers name the metrics; the controls ask it about changed images.
        periods: grids to look for, in pixels.
        compared_classes: DeNet is compared between so many classes, or all where there are fewer: the true one and others.
        curve_steps: steps of the deletion and insertion curves.
        randomised_layers: the layers (with weights) down to which to randomise; None for each in turn.
        denet_variants: other variants of DeNet by name, which are measured and compared between classes too.
        seed: draws the random weights and vectors.
    """

    def __init__(
        self,
        network: nn.Module,
        periods: Sequence[int] = PERIODS,
        compared_classes: int = 3,
        curve_steps: int = 16,
        randomised_layers: Sequence[str] | None = None,
        denet_variants: Mapping[str, DeNet] | None = None,
        seed: int = 0,
    ) -> None:
        self.network = network
        self.layers = convolution_layers(network)
        self.compared_classes = compared_classes
        self.curve_steps = curve_steps
        self.randomised_layers = randomised_layers
        self.denet_variants: dict[str, DeNet] = {"denet": denet, **(denet_variants or {})}
        self.seed = seed
        of_each = MetricCollection(
            {
                **{f"grid{period}": Blockiness(period) for period in periods},
                "detail": EdgeCorrelation(),
                "inside": EnergyPointingGame(),
                "pointing": PointingGame(),
            },
            compute_groups=False,  # equal values on the first images don't make two metrics one
        )
        self._of_projections = {
            name: of_each.clone(postfix=f"/{name}") for name in (*self.layers, *self.denet_variants, "gradient")
        }
        self._others: dict[str, PerImageMetric] = {"inside/chance": MaskArea()}

    def project(self, traces: Sequence[LayerTrace], targets: Tensor) -> dict[str, Tensor]:
        """Return all projections (N, C, H, W) of a batch by name: Deconvolution, DeNet and its variants, the gradient.

        Args:
            traces: of the whole network, from images (N, C, H, W).
            targets: the true classes, (N,) of int64.
        """
        projections = {layer: deconvolution(traces, layer) for layer in self.layers}
        projections |= {name: variant(traces, targets) for name, variant in self.denet_variants.items()}
        return {**projections, "gradient": gradient(self.network, traces[0].input, targets)}

    def update(self, projections: Mapping[str, Tensor], images: Tensor, masks: Tensor) -> None:
        """Measure the projections of a batch by themselves: grid, detail, inside and pointing.

        Args:
            projections: by name, those of ``project``, each (N, C, H, W).
            images: (N, C, H, W), as the network takes them.
            masks: (N, H, W) of bool, true on the object, false everywhere where it is not known.
        """
        for name, metrics in self._of_projections.items():
            metrics.update(projections=projections[name], images=images, masks=masks)
        self._others["inside/chance"].update(projections["denet"], masks)

    def update_controls(self, traces: Sequence[LayerTrace], targets: Tensor, projections: Mapping[str, Tensor]) -> None:
        """Measure how far projections depend on classes and weights, and the network on them: deletion to randomised.

        Args:
            traces: as for ``project``; ``slice_traces`` takes them out of those of more images.
            targets: as for ``project``.
            projections: of these images, by name: at least DeNet and its variants, and the last convolution layer's.
        """
        images = traces[0].input
        for name in (self.layers[-1], "denet"):
            asked = (self.network, images, targets, projections[name], self.curve_steps)
            self._other(f"deletion/{name}", Deletion).update(deletion_curve(*asked))
            self._other(f"insertion/{name}", Insertion).update(insertion_curve(*asked))
        for name, variant in self.denet_variants.items():
            of_classes = self._of_classes(variant, traces, targets, projections[name])
            self._other(f"likeness/{name}", PairwiseCosine).update(of_classes)
        generator = torch.Generator().manual_seed(self.seed)
        starts = torch.randn(self.compared_classes, *traces[-1].output.shape, generator=generator).to(images)
        from_starts = [project_vector(traces, F.normalize(start, dim=1)) for start in starts]
        self._other("likeness/random_start", PairwiseCosine).update(torch.stack(from_starts, 1))
        self._update_randomised(images, targets, projections)

    def per_image(self) -> dict[str, Tensor]:
        """Return the values of all images that this process has seen, (N,) by name, NaN for one that has none."""
        return {name: metric.per_image() for name, metric in self._all()}

    def compute(self) -> dict[str, float]:
        """Return each metric's mean over the images that this process has seen by name, NaN where no image has a value."""
        return {name: float(metric.average(metric.per_image())) for name, metric in self._all()}

    def _update_randomised(self, images: Tensor, targets: Tensor, projections: Mapping[str, Tensor]) -> None:
        last, reached_last = self.layers[-1], False
        for layer, randomised in cascading_randomization(self.network, self.seed):
            reached_last = reached_last or layer == last  # what comes after the last convolution layer doesn't change its own
            if self.randomised_layers is None or layer in self.randomised_layers:
                traces = record(randomised, images)
                of_denet = denet(traces, targets)
                self._other(f"randomised/denet/{layer}", RankCorrelation).update(projections["denet"], of_denet)
                if reached_last:
                    of_last = deconvolution(traces, last)
                    self._other(f"randomised/{last}/{layer}", RankCorrelation).update(projections[last], of_last)
        if self.randomised_layers is None or layer in self.randomised_layers:  # the first layer: all weights are random
            of_classes = self._of_classes(denet, traces, targets, of_denet)
            self._other("likeness/random_weights", PairwiseCosine).update(of_classes)

    def _of_classes(self, variant: DeNet, traces: Sequence[LayerTrace], targets: Tensor, of_targets: Tensor) -> Tensor:
        """Return DeNet for the true class of each image and for others, evenly spaced after it: (N, K, C, H, W)."""
        count = traces[-1].output.shape[1]
        compared = min(self.compared_classes, count)
        others = [(targets + number * count // compared) % count for number in range(1, compared)]
        return torch.stack([of_targets, *(variant(traces, classes) for classes in others)], 1)

    def _other(self, name: str, kind: type[PerImageMetric]) -> PerImageMetric:
        return self._others.setdefault(name, kind())

    def _all(self) -> Iterator[tuple[str, PerImageMetric]]:
        for metrics in self._of_projections.values():
            for name, metric in metrics.items():
                assert isinstance(metric, PerImageMetric)
                yield name, metric
        yield from self._others.items()
