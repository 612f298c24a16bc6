"""People's own folders: what is a class, a part, a mask or none of them; and nothing is lost or left out without a word."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import DataSettings, SettingsError
from datamodules import image_folder
from datamodules.cache import Pixels
from datamodules.decoding import decode
from datamodules.image_folder import ImageFolder, list_images
from tests.datamodules.photographs import numbered, write, write_mask


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of decoded images goes below the current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of ten images, in several formats and at several depths, among what programs leave."""
    root = tmp_path / "photos"
    write(
        root,
        *numbered("cat", 10),
        *numbered("dog", 7, "png"),
        *numbered("dog/2024/may", 3, "webp"),
        *numbered("cow", 10, "tif"),
    )
    hidden = (
        "cat/._00.jpg",
        "cat/Thumbs.db",
        "dog/.ipynb_checkpoints/00.png",
        ".ipynb_checkpoints/x.jpg",
        "__MACOSX/cat/00.jpg",
    )
    write(root, *hidden, ".DS_Store", "dog/@eaDir/00.png")
    return root


def read(root: Path, **changes: Any) -> ImageFolder:
    usual: dict[str, Any] = {"name": "folder", "root": str(root), "batch_size": 4, "train_sizes": [], "workers": 0}
    data = ImageFolder(DataSettings(**usual | changes), image_size=67, seed=1)
    data.prepare_data()
    data.setup()
    return data


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_folders_are_classes_and_hidden_files_are_not_there(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(photos)
    data = read(photos)
    assert data.class_names == ["cat", "cow", "dog"]
    assert data.files == [*numbered("cat", 10), *numbered("cow", 10, "tif"), *numbered("dog", 7, "png"),
                          *numbered("dog/2024/may", 3, "webp")]  # fmt: skip
    assert data.targets.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert data.title == "photos"
    for index in (0, 10, 20, 29):
        np.testing.assert_array_equal(data.image_set.images[index], decode(photos / data.files[index]))
    assert np.bincount(data.targets[data.split.test]).tolist() == [2, 2, 2]
    assert (data.original_sizes() == (40, 30)).all()
    assert capsys.readouterr().out == ""
    assert everything(photos) == before, "nothing is written there"


def test_what_is_no_image_is_said(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(photos, "cat/notes.txt", "dog/IMG_1.HEIC", "dog/2024/IMG_2.HEIC", "loose.jpg")
    data = read(photos)
    data.prepare_data()  # once more, as Lightning does
    (line,) = capsys.readouterr().out.splitlines()
    assert "4 files that are no images, or in no class's folder (.heic 2, .jpg 1, .txt 1), passed over" in line
    assert len(data.files) == 30


@pytest.mark.parametrize("given", [("train", "val", "test"), ("train", "test"), ("train", "val"), ("train",)])
def test_parts_that_are_there_are_the_split_and_the_others_are_drawn(given: tuple[str, ...], tmp_path: Path) -> None:
    root, counts = tmp_path / "photos", {"train": 10, "val": 3, "test": 4}
    for part in given:
        for name in ("cat", "dog"):
            write(root, *numbered(f"{part}/{name}", counts[part]))
    data = read(root)
    assert data.class_names == ["cat", "dog"]
    parts = {part: [data.files[index] for index in getattr(data.split, part)] for part in counts}
    for part in given:
        own = {*numbered(f"{part}/cat", counts[part]), *numbered(f"{part}/dog", counts[part])}
        assert set(parts[part]) == own if part != "train" else set(parts[part]) <= own
    drawn = {part: len(names) for part, names in parts.items() if part not in given}
    assert drawn == {part: size for part, size in {"test": 4, "val": 2}.items() if part not in given}
    assert all(name.startswith("train/") for part in drawn for name in parts[part])
    assert sum(map(len, parts.values())) == len(data.files), "each image is in one part"
    assert {data.files[data.find([name])[0]].split("/")[1] for name in ("cat", "dog")} == {"cat", "dog"}


def test_a_class_may_be_called_train_or_masks(tmp_path: Path) -> None:
    write(tmp_path / "photos", *numbered("train", 5), *numbered("masks", 5), *numbered("test", 5))
    assert read(tmp_path / "photos").class_names == ["masks", "test", "train"]


def lay_out_badly(root: Path, kind: str) -> None:
    match kind:
        case "loose":
            write(root, *numbered(".", 5))
        case "one class":
            write(root, *numbered("cat", 5))
        case "empty class":
            write(root, *numbered("cat", 5), *numbered("dog", 5), "cow/notes.txt")
        case "other classes":
            write(root, *numbered("train/cat", 5), *numbered("train/dog", 5), *numbered("test/cat", 5))
        case "unlabelled test":
            write(root, *numbered("train/cat", 5), *numbered("train/dog", 5), *numbered("test", 5))
        case "more beside":
            write(root, *numbered("train/cat", 5), *numbered("train/dog", 5), *numbered("extra/cat", 5))
        case "single image":
            write(root, *numbered("cat", 5), "dog/1.jpg")
        case "a file":
            root.write_text("")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing", "there is no such folder"),
        ("a file", "there is no such folder"),
        ("loose", r"has 0 classes, and two are needed: put the images of each class into a folder of its own"),
        ("one class", "has 1 classes, and two are needed"),
        ("empty class", r"cow: has no images, and each folder is a class; put some there or move it"),
        ("other classes", r"train/ and test/ must hold the same classes, but only one of them has dog; .*data\.root=.*/train"),
        ("unlabelled test", r"train/ and test/ must hold the same classes, but only one of them has cat, dog"),
        ("more beside", r"has a split in train/, and beside it extra; move"),
        ("single image", "dog has 1 of the two images that a class needs"),
    ],
)
def test_another_layout_is_explained_and_left_alone(kind: str, message: str, tmp_path: Path) -> None:
    lay_out_badly(tmp_path / "photos", kind)
    before = everything(tmp_path)
    with pytest.raises(SettingsError, match=message) as caught:
        read(tmp_path / "photos")
    assert "\n" not in str(caught.value)
    assert "remove" not in str(caught.value)
    assert {name: content for name, content in everything(tmp_path).items() if not name.startswith("here/")} == before


def test_a_settled_split_is_not_drawn_by_number(tmp_path: Path) -> None:
    write(tmp_path / "photos", *numbered("train/cat", 5), *numbered("train/dog", 5))
    with pytest.raises(SettingsError, match=r"data\.split=per_class: .* leave data\.split out"):
        read(tmp_path / "photos", split="per_class")


@pytest.mark.parametrize("cache", [True, False])
def test_all_unreadable_images_are_named_at_once_and_nothing_is_lost(cache: bool, photos: Path) -> None:
    for file in ("cat/03.jpg", "dog/02.png", "dog/2024/may/01.webp"):
        (photos / file).write_bytes((photos / file).read_bytes()[:40])
    before = everything(photos)
    with pytest.raises(SettingsError, match=r"^3 of 30 images can't be read; put sound files in their place") as caught:
        read(photos, cache=cache)
    assert "\n" not in str(caught.value)
    assert all(f"{photos / file}: cannot be decoded" in str(caught.value) for file in ("cat/03.jpg", "dog/02.png"))
    assert everything(photos) == before
    assert not list(Path().rglob("*.npy"))


def test_of_many_unreadable_images_ten_are_named(photos: Path) -> None:
    for file in numbered("cat", 10) + numbered("cow", 4, "tif"):
        (photos / file).write_bytes(b"")
    with pytest.raises(
        SettingsError, match=r"^14 of 30 images .*; and 4 more; all of them: python -m datamodules\.check "
    ) as caught:
        read(photos)
    assert str(caught.value).count("cannot be decoded") == 10


def test_images_are_decoded_once_and_anew_when_they_change(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def recorded(path: Path) -> Pixels:
        decoded.append(path)
        return decode(path)

    monkeypatch.setattr(image_folder, "decode", recorded)
    read(photos)
    assert len(read(photos).image_set.images) == len(decoded) == 30
    write(photos, *numbered("ant", 5))
    assert read(photos).class_names == ["ant", "cat", "cow", "dog"]
    assert len(decoded) == 30 + 35
    write(photos.parent / "elsewhere/photos", *numbered("a", 5), *numbered("b", 5))
    read(photos.parent / "elsewhere/photos")
    read(photos)
    assert len(decoded) == 30 + 35 + 10, "folders of one name have caches of their own"
    assert all(path.name.startswith("photos-") for path in Path("data/cache").iterdir())
    read(photos, cache_dir="there")
    assert list(Path("there").glob("photos-*.npy"))


def test_copies_of_an_image_are_in_one_part(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    write(root, *numbered("cat", 12), *numbered("dog", 12))
    for original, copy in (("cat/00.jpg", "cat/11.jpg"), ("cat/00.jpg", "cat/10.jpg"), ("cat/01.jpg", "dog/00.jpg")):
        shutil.copy(root / original, root / copy)
    for seed in range(1, 6):
        data = read(root, seed=seed)
        for names in (("cat/00.jpg", "cat/10.jpg", "cat/11.jpg"), ("cat/01.jpg", "dog/00.jpg")):
            assert len({data.split.part(index) for index in data.find(names)}) == 1
    assert len(set(data.image_set.groups.tolist())) == 24 - 3


@pytest.mark.parametrize(("classes", "of_each"), [(2, [4, 4]), (3, [3, 3, 2]), (8, [1] * 8)])
def test_eight_test_images_are_looked_at_of_as_many_classes_as_there_are(
    classes: int, of_each: list[int], tmp_path: Path
) -> None:
    for number in range(classes):
        write(tmp_path / "photos", *numbered(f"class{number}", 20))
    data = read(tmp_path / "photos")
    probes = data.find([])
    assert len(set(probes)) == 8
    assert {data.split.part(index) for index in probes} == {"test"}
    assert np.bincount(data.targets[probes]).tolist() == of_each


def test_of_many_classes_those_that_are_looked_at_are_spread_out(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / "photos", *numbered(f"class{number:02d}", 4))
    data = read(tmp_path / "photos", test_fraction=0.25)
    assert data.targets[data.find([])].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]


def test_masks_follow_the_images(photos: Path) -> None:
    rng = np.random.default_rng(1)
    inside = rng.uniform(size=(30, 40)) > 0.4
    write_mask(photos / "masks/cat/00.png", inside)
    write_mask(photos / "masks/dog/2024/may/01.bmp", inside, brightest=1)
    write_mask(photos / "masks/cat/._01.png", inside)
    data = read(photos)
    assert data.class_names == ["cat", "cow", "dog"]
    first, other, none = data.find(["cat/00.jpg", "dog/2024/may/01.webp", "cat/01.jpg"])
    data.image_size = 10  # 3 x 4 pixels of the image in each
    expected = [[inside[3 * y : 3 * y + 3, 4 * x : 4 * x + 4].mean() > 0.5 for x in range(10)] for y in range(10)]
    np.testing.assert_array_equal(data.mask(first), expected)
    np.testing.assert_array_equal(data.mask(other), expected)
    assert data.mask(none) is None
    assert data.masks([first, none]).any((1, 2)).tolist() == [True, False]
    write_mask(photos / "masks/cat/01.png", inside[:20])
    with pytest.raises(SettingsError, match=r"masks/cat/01\.png: a mask must have the size of its image, 40 x 30 pixels"):
        data.mask(none)


def test_masks_of_a_settled_split(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    write(root, *numbered("train/cat", 9), *numbered("train/dog", 9))
    write_mask(root / "masks/train/cat/00.png", np.ones((30, 40)))
    write_mask(root / "train/masks/dog/00.png", np.ones((30, 40)))
    data = read(root)
    assert data.class_names == ["cat", "dog"]
    known = [file for file, mask in zip(data.files, data.masks(range(len(data.files))), strict=True) if mask.all()]
    assert known == ["train/cat/00.jpg", "train/dog/00.jpg"]


def test_images_are_found_by_the_path_that_leads_to_them(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read(photos)
    monkeypatch.chdir(photos.parent)
    monkeypatch.setenv("HOME", str(photos.parent))
    for name in (
        "dog/03.png",
        "photos/dog/03.png",
        str(photos / "dog/03.png"),
        "~/photos/dog/03.png",
        "photos/cat/../dog/03.png",
    ):
        assert [data.files[index] for index in data.find([name])] == ["dog/03.png"]


def test_a_folder_that_cant_be_read_is_one_clear_line(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SettingsError, match=r"photos.*: cannot be read \(Permission denied\)"):
        list_images(photos)
