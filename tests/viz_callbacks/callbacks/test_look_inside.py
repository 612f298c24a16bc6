from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from viz_callbacks import LookInside
from viz_callbacks.callbacks.look_inside import find_network, find_normalisation


class Pictures(Dataset[tuple[Tensor, int]]):
    classes = ("cat", "cow", "dog")

    def __init__(self, channels: int = 3, transform: Any = None) -> None:
        self.images = torch.rand(12, channels, 20, 20, generator=torch.Generator().manual_seed(0))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        return (self.transform(image) if self.transform else image), index % 3


def convolutions(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten())


class Base(LightningModule):
    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class WithBackbone(Base):
    """A network in one attribute."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*convolutions(channels), nn.Linear(180, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.backbone(images)
        return logits


class Itself(Base):
    """A network in several attributes, with a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = convolutions(3), nn.Linear(180, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


class Unclear(Base):
    """Two networks, and a forward that can't be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher, self.student = WithBackbone().backbone, WithBackbone().backbone

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.teacher(images) if images.sum() > 0 else self.student(images)
        return logits


class Untrained(WithBackbone):
    """Can't begin to train."""

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        raise AssertionError("a step was taken")


def train(
    callback: LookInside,
    module: LightningModule,
    data: Dataset[tuple[Tensor, int]],
    folder: Path,
    logger: Logger | bool = False,
    epochs: int = 1,
) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(
        max_epochs=epochs, callbacks=[callback], logger=logger, default_root_dir=folder, accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, 6, shuffle=True), DataLoader(data, 6))
    return trainer


def written(folder: Path) -> set[str]:
    return {str(file.parent.relative_to(folder)) for file in folder.rglob("*.jpg")}


def test_it_finds_network_layers_and_images(tmp_path: Path) -> None:
    train(LookInside(folder=str(tmp_path / "pictures")), WithBackbone(), Pictures(), tmp_path)
    places = written(tmp_path / "pictures")
    assert "overview/all" in places
    assert {"deconvolution/image-6/0", "deconvolution/image-6/3", "denet/image-6"} <= places
    assert not any("image-7" in place for place in places)


def test_training_does_not_notice(tmp_path: Path) -> None:
    with_it, without = WithBackbone(), WithBackbone()
    without.load_state_dict(with_it.state_dict())
    train(LookInside(folder=tmp_path / "a"), with_it, Pictures(), tmp_path, epochs=2)
    train(LookInside(folder=tmp_path / "b", every_n_epochs=0), without, Pictures(), tmp_path, epochs=2)
    assert written(tmp_path / "b") == set()
    for name, value in with_it.state_dict().items():
        assert torch.equal(value, without.state_dict()[name]), name


def test_probes_may_be_files_with_the_data_sets_normalisation(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    normalise = v2.Normalize([0.5] * 3, [0.25] * 3)
    callback = LookInside([tmp_path / "mine.png"], ["3"], folder=tmp_path / "pictures")
    train(callback, WithBackbone(), Pictures(transform=v2.Compose([normalise])), tmp_path)
    assert written(tmp_path / "pictures") == {"overview/all", "deconvolution/mine/3", "denet/mine"}
    probes = callback._callbacks[0].probes  # type: ignore[attr-defined]  # the overview's; others have none
    expected = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 - 0.5) / 0.25
    assert torch.allclose(probes.images, expected)
    assert probes.class_names == ["cat", "cow", "dog"]


def test_a_grey_network_is_shown_in_grey(tmp_path: Path) -> None:
    train(LookInside(folder=tmp_path / "pictures"), WithBackbone(channels=1), Pictures(channels=1), tmp_path)
    assert "denet/image-1" in written(tmp_path / "pictures")


def test_five_channels_are_shown_by_their_first_three(tmp_path: Path) -> None:
    train(LookInside(folder=tmp_path / "pictures"), WithBackbone(channels=5), Pictures(channels=5), tmp_path)
    assert "denet/image-1" in written(tmp_path / "pictures")


def test_tensorboard_gets_the_pictures_and_csv_their_ranges(tmp_path: Path) -> None:
    board = TensorBoardLogger(tmp_path, "board", version="")
    train(LookInside(folder=tmp_path / "pictures"), WithBackbone(), Pictures(), tmp_path, board)
    events = EventAccumulator(str(tmp_path / "board"), {"images": 0})
    events.Reload()
    assert "overview/all" in events.Tags()["images"]
    train(LookInside(folder=tmp_path / "more"), WithBackbone(), Pictures(), tmp_path, CSVLogger(tmp_path, "csv", version=""))
    assert "range/denet/image-1/DeNet, true class" in (tmp_path / "csv/metrics.csv").read_text()


def test_the_network_is_the_only_part_or_the_module_itself_or_named() -> None:
    assert find_network(WithBackbone()) == "backbone"
    assert find_network(Itself()) == ""
    with pytest.raises(ValueError, match=r"Which part of Unclear is the network.*'teacher' or 'student'"):
        find_network(Unclear())


def test_a_module_that_is_the_network_itself(tmp_path: Path) -> None:
    train(LookInside(layers=["features.3"], folder=tmp_path / "pictures"), Itself(), Pictures(), tmp_path)
    assert "deconvolution/image-1/features.3" in written(tmp_path / "pictures")


def test_a_named_part_is_looked_at(tmp_path: Path) -> None:
    train(LookInside(network="student", folder=tmp_path / "pictures"), Unclear(), Pictures(), tmp_path)
    assert "denet/image-1" in written(tmp_path / "pictures")


def test_normalisation_is_found_below_wrappers() -> None:
    data = Pictures(transform=v2.Compose([v2.ToImage(), v2.Normalize([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])]))
    subset = torch.utils.data.Subset(data, [0, 1])
    assert find_normalisation(subset) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert find_normalisation(Pictures()) is None


class WithoutWayBack(Base):
    """A function without a way back between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 5), nn.Conv2d(4, 5, 3), nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(torch.exp(self.first(images).relu())).relu().mean((2, 3)))
        return logits


def test_what_has_no_way_back_is_left_out_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(LookInside(folder=tmp_path / "pictures"), WithoutWayBack(), Pictures(), tmp_path, epochs=2)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("LookInside")]
    assert len(said) == 1
    assert "Without 1 of 2 convolution layers and DeNet: No backward rule is known for 'exp'" in said[0]
    places = {
        place.replace("image-1", "image") for place in written(tmp_path / "pictures") if "image-" not in place or "-1" in place
    }
    assert places == {"overview/all", "deconvolution/image/first"}
    with pytest.raises(ValueError, match=r"There is no way back from second.*'exp'"):
        train(LookInside(layers="second", folder=tmp_path / "other"), WithoutWayBack(), Pictures(), tmp_path)


def test_mistakes_are_told_before_they_cost_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no convolution layer conv9; the network has 0, 3"):
        train(LookInside(layers=["conv9"], folder=tmp_path), Untrained(), Pictures(), tmp_path)
    with pytest.raises(ValueError, match="both mean and std"):
        LookInside(mean=[0.5])
    with pytest.raises(ValueError, match="a list of at least one"):
        LookInside("photo.jpg")
    with pytest.raises(ValueError, match="give mean= and std="):
        train(LookInside([np.zeros((20, 20, 3), np.uint8)], folder=tmp_path), Untrained(), Pictures(), tmp_path)
    with pytest.raises(ValueError, match="layers must name at least one"):
        LookInside(layers=[])
    with pytest.raises(ValueError, match=r"Untrained has no part network='body'; it has 'backbone'"):
        train(LookInside(network="body", folder=tmp_path), Untrained(), Pictures(), tmp_path)
    given: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.5] * 3, "folder": tmp_path}
    with pytest.raises(FileNotFoundError, match=r"missing\.jpg"):
        train(LookInside([tmp_path / "missing.jpg"], **given), Untrained(), Pictures(), tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / name / "cat.png")
    with pytest.raises(ValueError, match=r"cat\.png, cat\.png would have pictures of one name"):
        train(LookInside([tmp_path / "a/cat.png", tmp_path / "b/cat.png"], **given), Untrained(), Pictures(), tmp_path)
    with pytest.raises(ValueError, match="class_names holds 2 names; the network has 3 classes"):
        train(LookInside(class_names=["a", "b"], folder=tmp_path), Untrained(), Pictures(), tmp_path)
