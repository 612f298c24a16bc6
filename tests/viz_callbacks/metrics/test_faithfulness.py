"""Areas under the curves of deletion and insertion."""

import numpy as np
import pytest
import torch

from viz_callbacks.metrics.faithfulness import Deletion, Insertion, auc


def test_the_area_is_that_of_trapezia() -> None:
    curve = torch.tensor([[0.0, 1.0, 0.5], [0.25, 0.25, 0.25]])
    assert auc(curve).tolist() == pytest.approx(np.trapezoid(curve.numpy(), dx=0.5, axis=1).tolist())


def test_deletion_and_insertion_are_mean_areas() -> None:
    curves = torch.tensor([[1.0, 0.5, 0], [1, 1, 1]])
    for metric in (Deletion(), Insertion()):
        assert float(metric(curves)) == pytest.approx(0.75)
    assert (Deletion.higher_is_better, Insertion.higher_is_better) == (False, True)
