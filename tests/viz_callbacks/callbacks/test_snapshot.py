"""The snapshot: one forward pass an epoch and each projection once, shared in a training and never stale."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

import viz_callbacks.callbacks.snapshot
from datamodules.datamodule import ImageDataModule
from experiment.visualization import build_probes
from lightning_modules.classifier import Classifier
from tests.small_network import small_network
from viz_callbacks.callbacks import (
    DeconvolutionPictures,
    DeNetPictures,
    FilterPictures,
    Probes,
    ProjectionMetricsLogger,
)
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet
from viz_callbacks.methods.gradient import gradient


@pytest.fixture
def probes(shapes: ImageDataModule) -> Probes:
    return build_probes(shapes, ["circle", "star", "heart"])  # one more than the controls look at


def every(folder: Path, probes: Probes) -> list[Callback]:
    return [
        DeconvolutionPictures(folder / "deconvolution", probes),
        DeNetPictures(folder / "denet", probes),
        FilterPictures(folder / "filters", probes),
        ProjectionMetricsLogger(probes),
    ]


class Calls:
    """Counts what the snapshot computes, and the forward passes of all probes, those that autograd follows left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, network: nn.Module, images: Tensor) -> None:
        self.found: Counter[str] = Counter()
        weight = network.get_parameter("conv1.weight")
        convolve = nn.Conv2d.forward

        def forward(layer: nn.Conv2d, value: Tensor) -> Tensor:
            if layer.weight is weight and not torch.is_grad_enabled() and torch.equal(value, images):
                self.found["forward"] += 1
            return convolve(layer, value)

        monkeypatch.setattr(nn.Conv2d, "forward", forward)
        for name in ("deconvolution", "denet", "gradient"):
            self._count(monkeypatch, name)

    def _count(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        compute = getattr(viz_callbacks.callbacks.snapshot, name)

        def counted(*arguments: object, **options: object) -> Tensor:
            self.found[f"{name} {arguments[1]}" if name == "deconvolution" else name] += 1
            projection: Tensor = compute(*arguments, **options)
            return projection

        monkeypatch.setattr(viz_callbacks.callbacks.snapshot, name, counted)


@pytest.mark.parametrize("epochs", [1, 3])
def test_each_epoch_has_one_forward_pass_and_each_projection_once(
    epochs: int,
    classifier: Classifier,
    shapes: ImageDataModule,
    probes: Probes,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls(monkeypatch, classifier.network, probes.images)
    with torch.no_grad():  # no probe is of the class that is predicted for all of them
        classifier.network.get_parameter("fc4.bias")[-1] = 100
    make_trainer(epochs, every(tmp_path, probes)).fit(classifier, shapes)
    assert calls.found == {
        "forward": epochs,
        "deconvolution conv1": epochs,
        "deconvolution conv2": epochs,
        "denet": 3 * epochs,  # of the true classes, with biases and without, and of the predicted ones
        "gradient": epochs,
    }


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_each_callback_works_alone(
    kind: int,
    classifier: Classifier,
    shapes: ImageDataModule,
    probes: Probes,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls(monkeypatch, classifier.network, probes.images)
    make_trainer(2, [every(tmp_path, probes)[kind]]).fit(classifier, shapes)
    assert calls.found["forward"] == 2


class Watcher(Callback):
    """Notes whether there is a snapshot at the end of an epoch, after the others, and while the network learns."""

    def __init__(self, probes: Probes, fails: bool = False) -> None:
        self.probes = probes
        self.fails = fails
        self.after_epoch: list[bool] = []
        self.while_learning: list[bool] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self.while_learning.append(bool(self.probes.shared_snapshot))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.after_epoch.append(bool(self.probes.shared_snapshot))
        if self.fails:
            raise RuntimeError("the disk is full")


def test_it_takes_no_memory_while_the_network_learns_nor_afterwards(
    classifier: Classifier, shapes: ImageDataModule, probes: Probes, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    watcher = Watcher(probes)
    make_trainer(3, [*every(tmp_path, probes), watcher]).fit(classifier, shapes)
    assert watcher.after_epoch == [True] * 3
    assert len(watcher.while_learning) >= 3
    assert not any(watcher.while_learning)
    assert not probes.shared_snapshot


def test_it_is_released_when_the_training_fails(
    classifier: Classifier, shapes: ImageDataModule, probes: Probes, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    watcher = Watcher(probes, fails=True)
    with pytest.raises(RuntimeError, match="the disk is full"):
        make_trainer(3, [*every(tmp_path, probes), watcher]).fit(classifier, shapes)
    assert watcher.after_epoch == [True]
    assert not probes.shared_snapshot


def test_outside_of_a_training_pictures_are_never_stale(probes: Probes, tmp_path: Path) -> None:
    network, callback = small_network().eval(), DeconvolutionPictures(tmp_path, probes)
    before, _ = callback.render(network, 1)[0]
    with torch.no_grad():
        network.get_parameter("conv1.weight").mul_(3)
    after, _ = callback.render(network, 2)[0]
    assert after.ranges["maps"] > 2 * before.ranges["maps"]
    assert not probes.shared_snapshot


def test_another_trainer_network_or_step_gets_another(
    probes: Probes, make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [small_network(), small_network()]
    trainers = [make_trainer(1, []), make_trainer(1, [])]
    for one, other in itertools.pairwise(itertools.product(trainers, networks)):
        found = [probes.snapshot(network, trainer) for trainer, network in (one, one, other)]
        assert found[0] is found[1]
        assert found[0] is not found[2]
    before = probes.snapshot(networks[0], trainers[0])
    monkeypatch.setattr(Trainer, "global_step", 1)
    assert probes.snapshot(networks[0], trainers[0]) is not before


def test_it_has_what_the_methods_compute(probes: Probes) -> None:
    network = small_network()
    snapshot = ProbeSnapshot(network, probes.images, probes.targets)
    traces = record(network, probes.images)
    assert torch.equal(snapshot.logits, traces[-1].output)
    assert snapshot.layers == ["conv1", "conv2"]
    assert torch.equal(snapshot.feature_maps("conv2"), next(trace.output for trace in traces if trace.name == "act2"))
    shares = traces[-1].output.softmax(1)
    assert torch.equal(snapshot.predicted, shares.argmax(1))
    torch.testing.assert_close(snapshot.confidence, shares.max(1).values)
    others = (probes.targets + 1) % 8
    assert torch.equal(snapshot.denet(others), denet(traces, others)), "other classes are no memory of the first ones"
    expected = {
        "conv1": deconvolution(traces, "conv1"),
        "conv2": deconvolution(traces, "conv2"),
        "denet": denet(traces, probes.targets),
        "gradient": gradient(network, probes.images, probes.targets),
    }
    found = snapshot.projections()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], projection) for name, projection in expected.items())
    double = ProbeSnapshot(network.double(), probes.images, probes.targets)
    assert double.logits.dtype == torch.float64, "images come in the network's own dtype"
