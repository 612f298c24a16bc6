"""The callbacks: what they leave on disk and in W&B, and that training cannot notice them."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.types import STEP_OUTPUT
from PIL import Image

from configs import LoggerSettings, OptimSettings, SettingsError
from datamodules.datamodule import ImageDataModule
from datamodules.datasets import Batch
from experiment.csv_recorder import CSVRecorder
from experiment.dashboard import Dashboard
from experiment.loggers import build_logger, finish_logger
from experiment.run_folder import read_rows
from experiment.visualization import build_probes
from experiment.wandb_mirror import WandbMirror
from lightning_modules.classifier import Classifier
from tests.datamodules.photographs import write
from tests.small_network import small_network
from viz_callbacks.callbacks import (
    DeconvolutionPictures,
    DeNetPictures,
    InvariancePictures,
    OcclusionPictures,
    Probes,
    ProjectionMetricsLogger,
)
from viz_callbacks.callbacks.base import PeriodicCallback
from viz_callbacks.drawing.pixels import robust_range
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet
from viz_callbacks.methods.occlusion import occlusion


@pytest.fixture
def probes(shapes: ImageDataModule) -> Probes:
    return build_probes(shapes, ["circle", "star"])


def both(folder: Path, probes: Probes, every_n_epochs: int = 1) -> list[PeriodicCallback]:
    return [
        DeconvolutionPictures(folder / "deconvolution", probes, every_n_epochs=every_n_epochs),
        DeNetPictures(folder / "denet", probes, every_n_epochs=every_n_epochs),
    ]


def every(folder: Path, probes: Probes) -> list[PeriodicCallback]:
    return [
        *both(folder, probes),
        OcclusionPictures(folder / "occlusion", probes, square=0.4),
        InvariancePictures(folder / "invariance", probes),
        ProjectionMetricsLogger(probes),
    ]


def test_sheets_sprites_and_an_index_that_names_them(
    classifier: Classifier, shapes: ImageDataModule, probes: Probes, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    make_trainer(3, both(tmp_path, probes, every_n_epochs=2)).fit(classifier, shapes)
    for kind, places in (
        ("deconvolution", {f"{probe}-0001/{layer}" for probe in ("circle", "star") for layer in ("conv1", "conv2")}),
        ("denet", {"circle-0001", "star-0001"}),
    ):
        index = json.loads((tmp_path / kind / "index.json").read_text())
        assert list(index) == ["2", "3"], "every second epoch, and the last"
        assert {entry["place"] for entry in index["2"]} == places
        named = {entry["sheet"] for epoch in index.values() for entry in epoch}
        named |= {file for epoch in index.values() for entry in epoch for file in entry["sprites"].values()}
        assert named == {str(file.relative_to(tmp_path / kind)) for file in (tmp_path / kind).rglob("epoch-*")}
        for file in named:
            pixels = np.asarray(Image.open(tmp_path / kind / file).convert("L"))
            assert pixels.std() > 1, f"{file} is blank"


def test_pictures_show_what_the_methods_compute(
    classifier: Classifier, shapes: ImageDataModule, probes: Probes, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    make_trainer(1, both(tmp_path, probes)).fit(classifier, shapes)
    traces = record(classifier.network, probes.images)
    expected = {
        ("deconvolution", "star-0001/conv2", "projection"): deconvolution(traces, "conv2")[1],
        ("denet", "star-0001", "DeNet, true class"): denet(traces, probes.targets)[1],
    }
    for (kind, place, name), projection in expected.items():
        entry = next(
            entry for entry in json.loads((tmp_path / kind / "index.json").read_text())["1"] if entry["place"] == place
        )
        assert entry["ranges"][name] == pytest.approx(robust_range(projection), rel=1e-4)
        assert f"{entry['ranges'][name]:.3g}" in entry["caption"], "the range is stated"
        file = next(
            file for sprite, file in entry["sprites"].items() if sprite in name.lower().replace(",", "").replace(" ", "-")
        )
        pixels = np.asarray(Image.open(tmp_path / kind / file).convert("L"), dtype=float)
        grey = projection.mean(0).numpy()
        assert np.corrcoef(pixels.ravel(), grey.ravel())[0, 1] > 0.7, "WebP loses some, but not the picture"
    assert "true class star, predicted" in entry["caption"]


class Trajectory(Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(outputs, Mapping)
        self.losses.append(float(outputs["loss"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_training_is_bit_identical_with_and_without(
    name: str, shapes: ImageDataModule, probes: Probes, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    ends = []
    for callbacks in (list[Callback](), every(tmp_path, probes)):
        torch.manual_seed(5)
        model = Classifier(small_network(), 8, OptimSettings(name=name, lr=0.01), shapes.steps_per_epoch, seed=3)
        trajectory = Trajectory()
        make_trainer(3, [trajectory, *callbacks]).fit(model, shapes)
        ends.append((trajectory.losses, model.network.state_dict(), torch.get_rng_state()))
    assert ends[0][0] == ends[1][0]
    assert len(set(ends[0][0])) > 3, "there is something to compare"
    assert all(torch.equal(ends[0][1][key], ends[1][1][key]) for key in ends[0][1])
    assert torch.equal(ends[0][2], ends[1][2])


def test_looking_leaves_mode_gradients_hooks_and_random_numbers_alone(
    classifier: Classifier,
    shapes: ImageDataModule,
    probes: Probes,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callbacks = every(tmp_path, probes)
    trainer = make_trainer(1, [])
    trainer.fit(classifier, shapes)
    classifier.network.train()
    weight = classifier.network.get_parameter("conv1.weight")
    weight.grad = torch.ones_like(weight)
    monkeypatch.setattr(classifier, "log", lambda *arguments, **options: None)
    numbers = torch.get_rng_state()
    weights = {name: value.clone() for name, value in classifier.state_dict().items()}
    for callback in callbacks:
        callback.every_n_epochs = 1
        callback.on_train_epoch_end(trainer, classifier)
    assert (tmp_path / "denet" / "index.json").exists()
    assert all(layer.training for layer in classifier.network.modules())
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(value, classifier.state_dict()[name]) for name, value in weights.items())
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in classifier.network.modules())


def test_only_rank_zero_looks_and_zero_means_never(
    classifier: Classifier,
    shapes: ImageDataModule,
    probes: Probes,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_trainer(2, both(tmp_path / "never", probes, every_n_epochs=0)).fit(classifier, shapes)
    assert not (tmp_path / "never").exists()

    trainer = make_trainer(1, [])
    monkeypatch.setattr(type(trainer), "is_global_zero", False)
    both(tmp_path / "rank1", probes)[0].on_train_epoch_end(trainer, classifier)
    assert not (tmp_path / "rank1").exists()


def test_the_folder_may_be_a_string(probes: Probes, tmp_path: Path) -> None:
    ((picture, file), _) = DeNetPictures(f"{tmp_path}/denet", probes).render(small_network(), 3)
    assert file == tmp_path / "denet" / picture.place / "epoch-003.jpg"
    assert file.is_file()


def test_fixed_scale_keeps_the_first_range_even_after_a_resume(probes: Probes, tmp_path: Path) -> None:
    first = DeconvolutionPictures(tmp_path, probes, fixed_scale=True)
    assert first.range("a", torch.zeros(9)) == 0, "an empty picture sets no range"
    assert first.range("a", torch.full((9,), 2.0)) == 2
    assert first.range("a", torch.full((9,), 5.0)) == 2
    resumed = DeconvolutionPictures(tmp_path, probes, fixed_scale=True)
    resumed.load_state_dict(first.state_dict())
    assert resumed.range("a", torch.full((9,), 7.0)) == 2
    assert DeconvolutionPictures(tmp_path, probes).range("a", torch.full((9,), 7.0)) == 7


def test_where_the_class_is_unknown_the_predicted_one_stands_in_and_the_captions_say_so(
    shapes: ImageDataModule, tmp_path: Path
) -> None:
    write(tmp_path, "my cat.jpg")
    network, probes = small_network(), build_probes(shapes, ["circle", str(tmp_path / "my cat.jpg")])
    predicted = network.eval()(probes.images).argmax(1)
    assert probes.targets.tolist() == [0, -1]
    assert probes.snapshot(network).targets.tolist() == [0, int(predicted[1])]
    traces = record(network, probes.images)
    torch.testing.assert_close(
        probes.snapshot(network).projections()["denet"], denet(traces, torch.stack([torch.tensor(0), predicted[1]]))
    )
    known, unknown = (picture for picture, _ in DeNetPictures(tmp_path / "denet", probes).render(network, 1))
    assert "circle/0001" in known.caption
    assert "true class circle, predicted" in known.caption
    assert (
        "my cat.jpg (not of the data set): true class unknown, the predicted one stands in for it, predicted" in unknown.caption
    )
    assert unknown.place == "my cat"
    np.testing.assert_array_equal(unknown.sprites["denet-true-class"], unknown.sprites["denet-predicted-class"])
    _, (occluded, _) = OcclusionPictures(tmp_path / "occlusion", probes, square=0.3, stride=1).render(network, 1)
    expected = occlusion(network, probes.images[1], int(predicted[1]), "conv2", 20, 20).probability
    np.testing.assert_allclose(np.array(occluded.facts["probability"]), expected, atol=1e-4)
    ((moved, _),) = InvariancePictures(tmp_path / "invariance", probes).render(network, 1)
    assert moved.caption.splitlines()[-1] == "true class unknown, the predicted one stands in for it: my cat.jpg"


def test_two_images_whose_pictures_would_have_one_name_are_refused(shapes: ImageDataModule, tmp_path: Path) -> None:
    write(tmp_path, "a/cat.jpg", "b/cat.png")
    for names in (["circle", "circle/0001"], [str(tmp_path / "a/cat.jpg"), "star", str(tmp_path / "b/cat.png")]):
        with pytest.raises(SettingsError, match="would have pictures of one name"):
            build_probes(shapes, names)


@pytest.mark.slow
def test_lightnings_own_wandb_logger_gets_the_pictures(
    classifier: Classifier, shapes: ImageDataModule, probes: Probes, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    run = wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True, console="off"))
    pictures = DeNetPictures(tmp_path / "denet", probes)
    make_trainer(1, [pictures, CSVRecorder(tmp_path, "t")], logger=WandbLogger(experiment=run)).fit(classifier, shapes)
    media = Path(run.settings.files_dir) / "media/images/denet"
    run.finish()
    assert {file.name.partition("_")[0] for file in media.iterdir()} == {"circle-0001", "star-0001"}


@pytest.mark.slow
def test_offline_wandb_gets_pictures_ranges_and_metrics_in_one_row_by_epoch(
    classifier: Classifier,
    shapes: ImageDataModule,
    probes: Probes,
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no key of whoever runs the tests
    config = {"model.name": "small", "data.name": "shapes", "optim.lr": 0.01}
    logger = build_logger(LoggerSettings(mode="auto"), tmp_path, config, Dashboard(everything=True))
    assert isinstance(logger, WandbMirror)
    assert logger.mirrored
    made = tmp_path / "pictures"
    make_trainer(2, [*both(made, probes), CSVRecorder(tmp_path, "t")], logger=logger).fit(classifier, shapes)
    finish_logger(logger, {"diverged": False, "final/test/accuracy": 0.5, "val/accuracy": -1.0})
    offline = logger.mirrored.folder
    assert f"wandb sync {offline}" in capsys.readouterr().out
    leet = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
    done = subprocess.run([*leet, str(offline)], capture_output=True, text=True, check=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    rows = [row["history"]["item"] for row in records if row.get("type") == "history"]
    by_epoch = {row["epoch"]: row for row in rows}
    assert sorted(by_epoch) == [1, 2] == [row["epoch"] for row in rows], "one row an epoch"
    for row in by_epoch.values():
        assert {"train/loss", "test/accuracy", "val/mean_per_class", "deconvolution/star-0001/conv2.path"} <= set(row)
        assert row["loss/train"] == row["train/loss"]
        assert row["range/deconvolution/star-0001/conv2/projection"] > 0
        assert ", predicted " in row["denet/circle-0001.caption"]
        assert np.asarray(Image.open(offline / "files" / row["denet/circle-0001.path"])).std() > 10, "not a black picture"
    metrics = {row["metric"]["name"]: row["metric"] for row in records if "metric" in row}
    assert metrics["loss/train"]["step_metric"] == metrics["denet/circle-0001"]["step_metric"] == "epoch"
    assert metrics["val/accuracy"]["summary"] == {"max": True}
    done = subprocess.run([*leet, "--summary", str(offline)], capture_output=True, text=True, check=True)
    run = json.loads(done.stdout)
    assert run["config"]["optim.lr"] == 0.01
    assert (run["summary"]["final/test/accuracy"], run["summary"]["diverged"]) == (0.5, False)
    assert run["summary"]["val/accuracy"] == {"max": max(row["val/accuracy"] for row in read_rows(tmp_path / "metrics.csv"))}
