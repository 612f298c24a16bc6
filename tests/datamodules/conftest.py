"""A stand-in for Caltech-101 of a few generated images, and the real one where the environment says where it is."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from configs import DataSettings
from datamodules.caltech101 import classes
from datamodules.caltech101.datamodule import Caltech101
from tests.datamodules.stand_in import STAND_IN, add, jpeg, trust


@pytest.fixture
def stand_in_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both archives, of 17 images in three classes and three of background."""
    monkeypatch.setattr(classes, "IMAGES_PER_CLASS", STAND_IN)
    folder = tmp_path / "archives"
    folder.mkdir()
    with tarfile.open(folder / "101_ObjectCategories.tar.gz", "w:gz") as tar:
        for category, count in STAND_IN.items():
            for number in range(1, count + 1):
                content = jpeg(100 * len(category) + number, grey=number == 1)
                add(tar, f"101_ObjectCategories/{category}/image_{number:04d}.jpg", content)
        add(tar, "101_ObjectCategories/BACKGROUND_Google/tmp", jpeg(0))
    with tarfile.open(folder / "Annotations.tar", "w") as tar:
        add(tar, "Annotations/Faces_2/annotation_0001.mat", b"stand-in")
    trust(monkeypatch, *folder.iterdir())
    return folder


@pytest.fixture
def stand_in_zip(stand_in_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as a zip laid out like the official one."""
    path = tmp_path / "stand-in-for-caltech-101.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for archive in stand_in_archives.iterdir():
            zipped.write(archive, f"caltech-101/{archive.name}")
            zipped.writestr(f"__MACOSX/caltech-101/._{archive.name}", "resource fork")
    trust(monkeypatch, path)
    return path


@pytest.fixture
def stand_in_settings(stand_in_archives: Path, tmp_path: Path) -> DataSettings:
    return DataSettings(root=str(tmp_path / "root"), archives=str(stand_in_archives), batch_size=4)


@pytest.fixture(scope="session")
def real_data(real_settings: DataSettings) -> Caltech101:
    """The real data set, set up with the default split."""
    data = Caltech101(real_settings, image_size=227, seed=1)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def free_of_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """time.sleep returns at once; the waits asked for are listed."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits
