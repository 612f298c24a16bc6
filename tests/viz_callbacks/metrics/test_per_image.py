"""A mean over images, its error, and images without a value."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from viz_callbacks.metrics.per_image import PerImageMetric


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_the_mean_its_error_and_images_without_a_value() -> None:
    class Given(PerImageMetric):
        def update(self, values: Tensor) -> None:
            self.add(values)

    measure = Given()
    measure.update(torch.tensor([1.0, math.nan, 2.0]))
    measure.update(torch.tensor([6.0]))
    assert measure.compute() == 3
    assert measure.standard_error() == pytest.approx(np.std([1, 2, 6], ddof=1) / math.sqrt(3))
    measure.reset()
    assert measure.compute().isnan()
    measure.update(torch.tensor([1.0]))
    assert measure.standard_error().isnan()
