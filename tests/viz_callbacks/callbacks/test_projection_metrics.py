"""The callback that logs the metrics of the projections after each epoch."""

import math
from collections.abc import Callable
from typing import ClassVar

import pytest
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules.datamodule import ImageDataModule
from experiment.visualization import build_probes
from lightning_modules.classifier import Classifier
from viz_callbacks.callbacks import ProjectionMetricsLogger
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.metrics.similarity import CosineDistance, EdgeCorrelation

Batch = tuple[Tensor, Tensor, Tensor]


def test_every_epoch_has_its_numbers_and_the_change_since_the_last(
    shapes: ImageDataModule, classifier: Classifier, make_trainer: Callable[..., Trainer]
) -> None:
    probes = build_probes(shapes, [])
    trainer = make_trainer(2, [ProjectionMetricsLogger(probes)])
    trainer.fit(classifier, shapes)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert found["seconds/metrics"] > 0
    assert 0 < found["change/denet"] < 2
    assert all(math.isfinite(value) for value in found.values())
    traces = record(classifier.network, probes.images)
    now = deconvolution(traces, "conv1")
    assert found["detail/conv1"] == pytest.approx(float(EdgeCorrelation()(now, probes.images)), rel=1e-3)
    state = ProjectionMetricsLogger(probes)
    state.load_state_dict({"before": {"conv1": now}})
    assert float(CosineDistance()(state.before["conv1"], now)) == pytest.approx(0, abs=1e-5)


def test_without_outlines_nothing_is_said_of_what_is_inside(
    shapes: ImageDataModule, classifier: Classifier, make_trainer: Callable[..., Trainer]
) -> None:
    found = build_probes(shapes, ["circle"])
    probes = type(found)(found.names, found.images, found.pictures, found.targets, found.class_names, found.notes)
    trainer = make_trainer(1, [ProjectionMetricsLogger(probes)])
    trainer.fit(classifier, shapes)
    assert not any(name.startswith(("inside", "pointing")) for name in trainer.callback_metrics)
    assert "deletion/denet" in trainer.callback_metrics


def test_the_costly_controls_are_taken_now_and_then_and_at_the_end(
    shapes: ImageDataModule, classifier: Classifier, make_trainer: Callable[..., Trainer]
) -> None:
    class Columns(Callback):
        found: ClassVar[list[set[str]]] = []

        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.callback_metrics.clear()  # Lightning only ever adds to it

        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.found.append({name.partition("/")[0] for name in trainer.callback_metrics})

    probes = build_probes(shapes, ["circle"])
    make_trainer(5, [ProjectionMetricsLogger(probes, controls_every=2), Columns()]).fit(classifier, shapes)
    costly = {"deletion", "insertion", "likeness", "randomised"}
    assert [costly <= found for found in Columns.found] == [False, True, False, True, True]
    assert all(bool(costly & found) == (costly <= found) for found in Columns.found)
    assert all("detail" in found for found in Columns.found)
