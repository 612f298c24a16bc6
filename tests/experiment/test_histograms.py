"""Histograms for W&B's ``watch``, against NumPy's, and through a training."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import Tensor

from datamodules.datamodule import ImageDataModule
from experiment.dashboard import Dashboard, Histogram
from experiment.histograms import BINS, HistogramLogger, histogram
from experiment.wandb_mirror import WandbMirror
from lightning_modules.classifier import Classifier


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_values_are_counted_as_numpy_does_without_those_that_are_not_finite(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = torch.randn(50, 40).to(dtype)
    values[0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    counts, edges = histogram(values)
    finite = values.flatten()[3:].float().numpy()
    expected, expected_edges = np.histogram(finite, BINS)
    assert counts.sum() == len(finite)
    np.testing.assert_allclose(edges, expected_edges, rtol=1e-5, atol=1e-6)
    assert np.abs(counts - expected).sum() <= 4, "a value on an edge may fall to either side"


@pytest.mark.parametrize(
    ("values", "count"), [(torch.zeros(5), 5), (torch.full((4,), 3.0), 4), (torch.full((2,), torch.nan), 0)]
)
def test_what_is_all_one_value_or_nothing_has_a_histogram_too(values: Tensor, count: int) -> None:
    counts, edges = histogram(values)
    assert counts.sum() == count
    assert (np.diff(edges) > 0).all()


class Mirror(WandbMirror):
    """Keeps the histograms, and starts nothing."""

    def __init__(self, dashboard: Dashboard) -> None:
        self.dashboard, self.mirrored, self.sent = dashboard, None, list[Mapping[str, Histogram]]()

    def log_histograms(self, histograms: Mapping[str, Histogram]) -> None:
        self.sent.append(histograms)


def test_weights_and_gradients_of_each_layer_as_often_as_pictures(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    mirror = Mirror(Dashboard(every_n_epochs=2, last_epoch=3))
    make_trainer(3, [HistogramLogger()], logger=mirror).fit(classifier, shapes)
    names = {name for name, _ in classifier.network.named_parameters()}
    assert len(mirror.sent) == 2, "after the second epoch and the last"
    for sent in mirror.sent:
        assert sent.keys() == {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
    for name, weight in classifier.network.named_parameters():
        counts, edges = mirror.sent[-1][f"weights/{name}"]
        assert counts.sum() == weight.numel()
        assert (edges[0], edges[-1]) == pytest.approx((weight.min().item(), weight.max().item()))
    assert any(edges[-1] > 0 for name, (_, edges) in mirror.sent[-1].items() if name.startswith("gradients"))
