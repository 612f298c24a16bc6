"""All numbers of a network's projections over some images: what ``measures`` has, applied to what the pictures show.

The pictures are called by the convolution layer that Deconvolution starts from, ``denet`` for DeNet of the true class, and
``gradient`` for the plain gradient, the control. A number's name is that of the measure and of the picture::

    grid2/conv2 grid4/conv2      block artefacts of period 2 and 4 pixels (Blockiness)
    detail/denet                 how much of the image's fine structure is shown (EdgeCorrelation)
    inside/conv5 inside/chance   share of the energy on the object, and the object's share of the area (EnergyPointingGame)
    pointing/conv5               how often the strongest pixel is on the object (PointingGame); chance is inside/chance too
    deletion/denet insertion/denet    the true class's probability as pixels go or come, strongest first
    likeness/denet               how alike DeNet of different classes is on one image (PairwiseCosine), with two controls:
    likeness/random_start        DeNet's way back from random vectors instead of classes
    likeness/random_weights      DeNet of the classes in the network with all weights randomised
    randomised/denet/fc7         how alike the picture stays when all layers from fc7 to the output are randomised
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet, project_vector
from viz_callbacks.methods.gradient import gradient
from viz_callbacks.methods.sanity_checks import cascading_randomization, deletion_curve, insertion_curve
from viz_callbacks.metrics.blockiness import Blockiness
from viz_callbacks.metrics.measures import (
    AreaInside,
    Deletion,
    EdgeCorrelation,
    EnergyPointingGame,
    Insertion,
    PairwiseCosine,
    PerImageMetric,
    PointingGame,
    RankCorrelation,
)

PERIODS = (2, 4)  # pixels: the strides of ZFNet's and AlexNet's first layer

DeNet = Callable[[Sequence[LayerTrace], Tensor], Tensor]
"""DeNet in one reading: the traces of all layers and a class for each image to pictures (N, C, H, W)."""


class ProjectionMetrics:
    """Measures every projection of a network over images that come in batches.

    Args:
        network: its layers' names name the numbers.
        periods: grids to look for, in pixels.
        classes: DeNet is compared between so many: the true one and others.
        curve_steps: traces of the deletion and insertion curves.
        randomise: the layers (with weights) down to which to randomise; None for each in turn.
        denet_variants: other readings of DeNet, whose pictures are measured and compared between classes too.
        seed: draws the random weights and vectors.
    """

    def __init__(
        self,
        network: nn.Module,
        periods: Sequence[int] = PERIODS,
        classes: int = 3,
        curve_steps: int = 16,
        randomise: Sequence[str] | None = None,
        denet_variants: Mapping[str, DeNet] | None = None,
        seed: int = 0,
    ) -> None:
        self.network = network
        self.layers = convolution_layers(network)
        self.periods = periods
        self.classes = classes
        self.curve_steps = curve_steps
        self.randomise = randomise
        self.denet_variants: dict[str, DeNet] = {"denet": denet, **(denet_variants or {})}
        self.seed = seed
        self.measures: dict[str, PerImageMetric] = {}

    def compute(self) -> dict[str, float]:
        """The mean over the images that this process has seen, by name; NaN where no image has a value."""
        return {name: float(measure.per_image().nanmean()) for name, measure in self.measures.items()}

    def project(self, traces: Sequence[LayerTrace], targets: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Make all pictures of a batch, by name (N, C, H, W), and measure them.

        ``traces`` of the network from images (N, C, H, W), ``targets`` (N,) true classes, ``masks`` (N, H, W) bool, false
        everywhere where it is not known.
        """
        images = traces[0].input
        pictures = {layer: deconvolution(traces, layer) for layer in self.layers}
        pictures |= {name: reading(traces, targets) for name, reading in self.denet_variants.items()}
        pictures["gradient"] = gradient(self.network, images, targets)
        for name, picture in pictures.items():
            for period in self.periods:
                self._measure(f"grid{period}/{name}", Blockiness(period), picture)
            self._measure(f"detail/{name}", EdgeCorrelation(), picture, images)
            self._measure(f"inside/{name}", EnergyPointingGame(), picture, masks)
            self._measure(f"pointing/{name}", PointingGame(), picture, masks)
        self._measure("inside/chance", AreaInside(), pictures["denet"], masks)
        return pictures

    def control(self, traces: Sequence[LayerTrace], targets: Tensor, pictures: dict[str, Tensor]) -> None:
        """Measure what the ``pictures`` of a batch, made by ``project``, owe to classes and weights, and the answer to them.

        ``traces`` and ``targets`` as for ``project``.
        """
        images = traces[0].input
        for name in (self.layers[-1], "denet"):
            words = (self.network, images, targets, pictures[name], self.curve_steps)
            self._measure(f"deletion/{name}", Deletion(), deletion_curve(*words))
            self._measure(f"insertion/{name}", Insertion(), insertion_curve(*words))
        for name, reading in self.denet_variants.items():
            self._measure(f"likeness/{name}", PairwiseCosine(), self._of_classes(reading, traces, targets, pictures[name]))
        generator = torch.Generator().manual_seed(self.seed)
        starts = torch.randn(self.classes, *traces[-1].output.shape, generator=generator).to(images)
        from_starts = [project_vector(traces, F.normalize(start, dim=1)) for start in starts]
        self._measure("likeness/random_start", PairwiseCosine(), torch.stack(from_starts, 1))
        self._randomise(images, targets, pictures)

    def _randomise(self, images: Tensor, targets: Tensor, pictures: dict[str, Tensor]) -> None:
        last, reached = self.layers[-1], False
        for layer, twin in cascading_randomization(self.network, self.seed):
            reached = reached or layer == last  # what comes after the last convolution layer doesn't change its picture
            if self.randomise is None or layer in self.randomise:
                traces = record(twin, images)
                picture = denet(traces, targets)
                self._measure(f"randomised/denet/{layer}", RankCorrelation(), pictures["denet"], picture)
                if reached:
                    self._measure(f"randomised/{last}/{layer}", RankCorrelation(), pictures[last], deconvolution(traces, last))
        if self.randomise is None or layer in self.randomise:  # the last: all weights are random
            self._measure("likeness/random_weights", PairwiseCosine(), self._of_classes(denet, traces, targets, picture))

    def _of_classes(self, reading: DeNet, traces: Sequence[LayerTrace], targets: Tensor, of_targets: Tensor) -> Tensor:
        """DeNet for the true class of each image and for others, evenly spaced after it: (N, K, C, H, W)."""
        count = traces[-1].output.shape[1]
        others = [(targets + number * count // self.classes) % count for number in range(1, self.classes)]
        return torch.stack([of_targets, *(reading(traces, classes) for classes in others)], 1)

    def _measure(self, name: str, measure: PerImageMetric, *words: Tensor) -> None:
        self.measures.setdefault(name, measure).update(*words)
