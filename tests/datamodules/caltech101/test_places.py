"""Caltech-101 is found in the forms in which people have it, and no folder of theirs is in the way or in danger."""

import re
import shutil
import zipfile
from pathlib import Path

import pytest

from configs import DataSettings, SettingsError
from configs.parser import parse
from datamodules.caltech101 import files, masks
from datamodules.caltech101.datamodule import Caltech101
from datamodules.caltech101.files import image_folder, list_images
from tests.datamodules.photographs import write
from tests.datamodules.stand_in import STAND_IN_IMAGES, jpeg


@pytest.fixture
def images(stand_in_archives: Path, tmp_path: Path) -> Path:
    """The images, unpacked, with their annotations beside them."""
    return image_folder(tmp_path / "unpacked", stand_in_archives)


def read(root: Path, archives: Path | None = None) -> Caltech101:
    data = Caltech101(DataSettings(root=str(root), archives=str(archives) if archives else None, batch_size=4), 67, seed=1)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("place", ["", "caltech101", "caltech-101"])
def test_unpacked_images_are_found_below_the_root(place: str, images: Path, tmp_path: Path) -> None:
    shutil.move(images.parent, tmp_path / "root" / place)
    data = read(tmp_path / "root")
    assert len(data.files) == STAND_IN_IMAGES
    assert data.folder() == tmp_path / "root" / place / "101_ObjectCategories"
    assert (data.folder().with_name("Annotations") / "Faces_2/annotation_0001.mat").is_file()
    assert (tmp_path / "root" / place / "cache/caltech101.npy").is_file()


def test_the_images_folder_may_be_the_root_again_and_again(images: Path) -> None:
    for _ in range(2):
        assert len(read(images).files) == STAND_IN_IMAGES
    assert not (images / "cache").exists(), "it would be a class"
    (images / "cache").mkdir()  # as earlier versions have left it
    (images / "cache/caltech101.npy").touch()
    assert len(read(images).files) == STAND_IN_IMAGES


@pytest.mark.parametrize("place", [".", "caltech101", "caltech-101"])
def test_archives_below_the_root_are_unpacked(place: str, stand_in_archives: Path, tmp_path: Path) -> None:
    shutil.copytree(stand_in_archives, tmp_path / "root" / place, dirs_exist_ok=True)
    data = read(tmp_path / "root")
    assert data.folder() == tmp_path / "root/101_ObjectCategories"
    assert (tmp_path / "root/Annotations").is_dir()
    assert (tmp_path / "root" / place / "101_ObjectCategories.tar.gz").is_file(), "what was there stays"


@pytest.mark.parametrize("place", [".", "caltech101"])
def test_the_official_zip_below_the_root_is_unpacked(place: str, stand_in_zip: Path, tmp_path: Path) -> None:
    (tmp_path / "root" / place).mkdir(parents=True)
    shutil.copy(stand_in_zip, tmp_path / "root" / place / "caltech-101.zip")
    assert len(read(tmp_path / "root").files) == STAND_IN_IMAGES
    assert (tmp_path / "root/Annotations").is_dir()
    assert (tmp_path / "root" / place / "caltech-101.zip").is_file()


def test_archives_may_be_a_folder_or_one_of_the_files(stand_in_archives: Path, stand_in_zip: Path, tmp_path: Path) -> None:
    (tmp_path / "zips").mkdir()
    shutil.copy(stand_in_zip, tmp_path / "zips/caltech-101.zip")
    forms = (stand_in_archives, stand_in_archives / "101_ObjectCategories.tar.gz", stand_in_zip, tmp_path / "zips")
    for number, archives in enumerate(forms):
        assert len(read(tmp_path / f"root{number}", archives).files) == STAND_IN_IMAGES
        assert (tmp_path / f"root{number}/Annotations").is_dir()


def test_a_tilde_is_the_home_folder(
    images: Path, stand_in_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = parse(["data.root=~/unpacked", "data.batch_size=4", "data.cache_dir=~/kept"]).data
    assert len(Caltech101(settings, 67, seed=1).read().files) == STAND_IN_IMAGES
    assert (tmp_path / "kept/caltech101.npy").is_file()
    monkeypatch.setenv("CALTECH101_ROOT", "~/new")
    monkeypatch.setenv("CALTECH101_ARCHIVES", f"~/{stand_in_archives.name}")
    assert Caltech101(parse([]).data, 67, seed=1).folder() == tmp_path / "new/101_ObjectCategories"


def test_hidden_files_and_folders_are_ignored(images: Path) -> None:
    listing = list_images(images, background=True)
    for hidden in ("Faces/._image_0001.jpg", ".ipynb_checkpoints/image_0001.jpg", "__MACOSX/image_0001.jpg"):
        (images / hidden).parent.mkdir(exist_ok=True)
        (images / hidden).write_bytes(jpeg(1))
    (images / "Faces/Thumbs.db").write_bytes(b"x")
    assert list_images(images, background=True) == listing


def test_classes_of_ones_own_below_that_name_are_told_the_way_that_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "101_ObjectCategories"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.jpg").write_bytes(jpeg(1))
    with pytest.raises(SettingsError, match=rf"has 2 of 101 classes and 2 of 8,677 images .* data=folder data\.root={folder};"):
        list_images(folder, background=False)


@pytest.mark.parametrize("place", ["photos", "photos/train"])
def test_nothing_is_put_among_classes_of_ones_own(
    place: str, stand_in_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """data.root=photos without data=folder, whether the data set would have been downloaded or unpacked."""
    monkeypatch.setattr(files, "download", lambda archive: pytest.fail("it begins to download"))
    root = tmp_path / "photos"
    write(tmp_path / place, "cat/1.jpg", "dog/1.png", "fish/1.webp", "horse/1.jpg")
    before = sorted(root.rglob("*"))
    for archives in (None, stand_in_archives):
        with pytest.raises(SettingsError, match=rf": data=folder data\.root={root};") as refused:
            image_folder(root, archives)
        assert "has images in cat, dog, fish and others, and no 101_ObjectCategories;" in str(refused.value)
    assert sorted(root.rglob("*")) == before


def test_it_is_put_beside_other_data_sets_and_where_its_archives_are(stand_in_archives: Path, tmp_path: Path) -> None:
    write(tmp_path / "sets", "flowers/rose/1.jpg", "birds/wren/1.jpg", "scans/1.jpg", ".cache/1.jpg")
    assert image_folder(tmp_path / "sets", stand_in_archives) == tmp_path / "sets/101_ObjectCategories"
    write(tmp_path / "full", "cat/1.jpg", "dog/1.jpg")
    shutil.copytree(stand_in_archives, tmp_path / "full", dirs_exist_ok=True)
    assert image_folder(tmp_path / "full", None) == tmp_path / "full/101_ObjectCategories"


@pytest.mark.parametrize("words", ["remove", "delete", "rm ", "erase", "clear the folder"])
def test_no_message_advises_to_remove_anything(words: str) -> None:
    """What is between quotes in the sources of the data sets, docstrings left out."""
    for file in Path(masks.__file__).parents[1].rglob("*.py"):
        source = re.sub(r'""".*?"""', "", file.read_text(), flags=re.DOTALL)
        assert not [text for text in re.findall(r'"([^"\n]*)"', source) if words in text], file


def test_a_zip_that_is_another_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as zipped:
        zipped.writestr("photos/1.jpg", jpeg(1))
    with pytest.raises(SettingsError, match=r"photos\.zip: not opened, as it is none of the published archives"):
        image_folder(tmp_path / "root", tmp_path / "photos.zip")
    assert [path.name for path in (tmp_path / "root").iterdir() if path.suffix != ".lock"] == []
