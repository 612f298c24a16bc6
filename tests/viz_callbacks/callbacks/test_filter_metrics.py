"""The callback that logs whether layers learn: its figures, its start, and what a resumed run compares with."""

from collections.abc import Callable

import pytest
import torch
from lightning import Trainer

from datamodules.datamodule import ImageDataModule
from lightning_modules.classifier import Classifier
from viz_callbacks.callbacks import FilterMetricsLogger


def test_what_is_logged_compares_the_weights_with_those_before_training(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    before = classifier.network.get_parameter("conv2.weight").detach().clone()
    trainer = make_trainer(2, [FilterMetricsLogger()])
    trainer.fit(classifier, shapes)
    after = classifier.network.get_parameter("conv2.weight").detach()
    cosines = torch.nn.functional.cosine_similarity(before.flatten(1), after.flatten(1))
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert found["learned/conv2"] == pytest.approx(1 - float(cosines.quantile(0.5)), abs=1e-6)
    assert 0 < found["learned/conv1"] < 1
    assert 1 < found["effective_rank/conv1"] <= 6
    assert 0 < found["low_frequency/conv1"] < 1
    assert "low_frequency/conv2" not in found


def test_a_resumed_run_compares_with_the_start_of_the_whole_run(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    first = FilterMetricsLogger()
    make_trainer(1, [first]).fit(classifier, shapes)
    resumed = FilterMetricsLogger()
    resumed.load_state_dict(first.state_dict())
    make_trainer(1, [resumed]).fit(classifier, shapes)
    assert torch.equal(resumed.start["conv1"], first.start["conv1"])


def test_never_means_that_nothing_is_kept(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    callback = FilterMetricsLogger(every_n_epochs=0)
    trainer = make_trainer(1, [callback])
    trainer.fit(classifier, shapes)
    assert callback.start == {}
    assert not [name for name in trainer.callback_metrics if name.startswith("learned")]
