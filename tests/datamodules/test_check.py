"""``python -m datamodules.check`` names all that is broken; trainings go on without it on request; odd names."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from configs import DataSettings, SettingsError
from datamodules import check
from datamodules.caltech101.datamodule import Caltech101
from datamodules.caltech101.files import image_folder
from datamodules.datamodule import ImageDataModule
from datamodules.decoding import decode
from datamodules.image_folder import ImageFolder
from datamodules.splits import save_skipped
from experiment.visualization import build_probes
from lightning_modules.networks.summary import layer_table, summarize_layers
from tests.datamodules.photographs import numbered, write
from tests.small_network import small_network
from viz_callbacks.callbacks import FilterPictures


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write(tmp_path / "photos", *numbered("cat", 10), *numbered("dog", 10))
    return tmp_path / "photos"


def read(root: Path, **changes: Any) -> ImageFolder:
    usual: dict[str, Any] = {"name": "folder", "root": str(root), "batch_size": 4, "train_sizes": [], "workers": 0}
    data = ImageFolder(DataSettings(**usual | changes), image_size=67, seed=1)
    data.prepare_data()
    data.setup()
    return data


def break_files(root: Path) -> dict[str, str]:
    """Break files in every way. Returns them with the reasons that are told."""
    (root / "cat/00.jpg").write_bytes(b"")
    (root / "cat/01.jpg").write_bytes((root / "cat/01.jpg").read_bytes()[:40])
    (root / "cat/02.jpg").write_text("<html>404</html>")
    for name in ("dog/00.jpg", "dog/01.jpg", "dog/02.jpg", "dog/03.jpg"):
        (root / name).unlink()
    os.mkfifo(root / "dog/00.jpg")
    (root / "dog/01.jpg").symlink_to("01.jpg")
    (root / "dog/02.jpg").symlink_to("nowhere.jpg")
    (root / "dog/03.jpg").symlink_to("../dog")
    unknown = "it is no image of a known format"
    return {
        "cat/00.jpg": unknown, "cat/01.jpg": "Truncated File Read", "cat/02.jpg": unknown, "dog/00.jpg": "it is no file",
        "dog/01.jpg": "Too many levels of symbolic links", "dog/02.jpg": "No such file or directory",
    }  # fmt: skip


def test_every_broken_file_is_named_with_its_reason(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(photos)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "20 of 20 images are sound"
    faults = break_files(photos)
    assert check.main([str(photos)]) == 1
    *lines, cache, end = capsys.readouterr().out.splitlines()
    assert lines == [f"{photos / file}: {reason}" for file, reason in faults.items()]
    assert cache.endswith(": there is no cache yet")
    assert end == "13 of 19 images are sound"


def test_a_damaged_cache_is_found_by_the_check(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = read(photos, cache_dir="kept").cache_file()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert check.main([str(photos), "--cache-dir", "kept"]) == 1
    assert f"{path}: 1 of 4 blocks are damaged; the next start builds it anew" in capsys.readouterr().out
    read(photos, cache_dir="kept")
    assert check.main([str(photos), "--cache-dir", "kept"]) == 0


def test_missing_photographs_of_caltech_101_are_named(
    stand_in_settings: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(stand_in_settings.root)
    folder = image_folder(root, Path(stand_in_settings.archives or ""))
    (folder / "Faces/image_0003.jpg").unlink()
    (folder / "Faces_easy/image_0001.jpg").write_bytes(b"")
    assert check.main([str(root)]) == 1
    output = capsys.readouterr().out
    assert f"{folder}/Faces/image_0003.jpg: missing\n" in output
    assert f"{folder}/Faces_easy/image_0001.jpg: it is no image of a known format\n" in output
    assert "18 of 20 images are sound" in output
    with pytest.raises(SettingsError, match=r"missing: Faces/image_0003\.jpg; .*data\.skip_broken=true"):
        Caltech101(stand_in_settings, 67, seed=1).read()
    stand_in_settings.skip_broken = True
    for cache in (True, False):
        stand_in_settings.cache = cache
        images = Caltech101(stand_in_settings, 67, seed=1).read()
        assert list(images.skipped) == ["Faces/image_0003.jpg", "Faces_easy/image_0001.jpg"]
        assert len(images.files) == len(images.targets) == len(images.groups) == len(images.images) == 15
        for file, pixels in zip(images.files, (images.images[number] for number in range(15)), strict=True):
            np.testing.assert_array_equal(pixels, decode(folder / file))


def test_no_data_set_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"datamodules.check: data.root={tmp_path / 'nowhere'}: there is no such folder\n"


@pytest.mark.parametrize("cache", [True, False])
def test_a_training_goes_on_without_broken_images_and_says_which(
    cache: bool, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = break_files(photos)
    with pytest.raises(SettingsError, match=r"^6 of 19 images can't be read"):
        read(photos, cache=cache)
    data = read(photos, cache=cache, skip_broken=True)
    assert capsys.readouterr().out.splitlines()[-1].startswith("data.skip_broken: 6 images are left out: cat/00.jpg (it is no")
    assert data.image_set.skipped == faults
    assert len(data.files) == len(data.image_set.images) == len(data.targets) == 13
    assert np.bincount(data.targets).tolist() == [7, 6]
    for number, file in enumerate(data.files):
        np.testing.assert_array_equal(data.image_set.images[number], decode(photos / file))
    save_skipped(data.image_set.skipped, tmp_path)
    assert (tmp_path / "skipped.txt").read_text() == "".join(f"{file}: {reason}\n" for file, reason in faults.items())


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("part", ["", "train/"])
def test_a_class_without_enough_images_is_one_line_before_any_is_decoded(count: int, part: str, tmp_path: Path) -> None:
    write(tmp_path / "photos", *numbered(f"{part}cat", 10), *numbered(f"{part}dog", count), f"{part}dog/notes.txt")
    with pytest.raises(SettingsError, match="has no images" if count == 0 else "dog has 1 of the two images") as caught:
        read(tmp_path / "photos")
    assert "\n" not in str(caught.value)
    assert not list(Path().rglob("*.npy"))


def test_a_class_that_is_broken_as_a_whole_is_one_line(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    write(root, *[name for part in ("train", "val", "test") for each in "ab" for name in numbered(f"{part}/{each}", 5)])
    for file in (root / "train/b").iterdir():
        file.write_bytes(b"")
    with pytest.raises(SettingsError, match=r"^b has no image to train on$"):
        read(root, skip_broken=True)


def test_a_folder_that_leads_back_to_itself_is_one_line(photos: Path) -> None:
    (photos / "loop").symlink_to(".")
    with pytest.raises(SettingsError, match=r"loop: is a link back to a folder that it lies in"):
        read(photos)
    (photos / "loop").unlink()
    (photos / "loop").symlink_to("loop")
    (photos / "cat/loop").symlink_to("..")  # below a class it isn't followed
    assert read(photos).class_names == ["cat", "dog"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_exif_data_says(orientation: int, photos: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
    upright = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1), 7: np.rot90(pixels, 2).swapaxes(0, 1), 8: np.rot90(pixels),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(photos / "cat/turned.png", exif=exif)
    Image.fromarray(np.ascontiguousarray(upright)).save(photos / "cat/upright.png")
    data = read(photos)
    turned, plain = (data.files.index(f"cat/{name}.png") for name in ("turned", "upright"))
    np.testing.assert_array_equal(data.image_set.images[turned], data.image_set.images[plain])
    assert data.original_sizes()[turned].tolist() == [upright.shape[1], upright.shape[0]]


ODD_NAMES = [
    "n" * 255,
    "[bold red]x",
    "[link=x]y",
    "[@click=x]",
    "<img src=x onerror=alert(1)>",
    'a"b',
    "-rf",
    "$(x)",
    "é" * 127,
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_classes_and_folders_work(name: str, tmp_path: Path) -> None:
    root = tmp_path / name / name
    write(root, *numbered(name, 10), *numbered("dog", 10))
    (root / name / "00.jpg").rename(root / name / f"{'m' * 251}.jpg")
    data: ImageDataModule = read(root)
    assert name in data.class_names
    probes = build_probes(data, [])
    FilterPictures(tmp_path / "pictures/filters", probes)
    for number in range(len(probes.names)):
        (tmp_path / "pictures" / probes.folder(number)).mkdir(parents=True)
    console = Console(file=io.StringIO(), width=1000)
    console.print(layer_table(summarize_layers(small_network(), 67), f"small on {data.title}"))
    assert isinstance(console.file, io.StringIO)
    shown = "".join(console.file.getvalue().split())
    assert f"small on {name[:30]}".replace(" ", "") in shown
