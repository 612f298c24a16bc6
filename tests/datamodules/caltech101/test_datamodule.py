"""The stand-in's listing, and the real data: counts, decoding, and no picture on both sides of a split."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import DataSettings, SettingsError
from datamodules.caltech101.datamodule import Caltech101
from datamodules.caltech101.files import image_folder, list_images
from datamodules.caltech101.near_duplicates import near_duplicate_pairs
from datamodules.datamodule import MEAN, STD
from datamodules.decoding import decode
from datamodules.splits import groups, split


def test_listing_is_sorted_and_passes_over_the_stray_file(stand_in_archives: Path, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "root", stand_in_archives)
    assert (folder / "BACKGROUND_Google/tmp").is_file()
    listing = list_images(folder, background=False)
    assert listing.class_names == ["Faces", "Faces_easy", "sunflower"]
    assert listing.files == sorted(listing.files)
    assert listing.targets == [0] * 6 + [1] * 6 + [2] * 5
    listing = list_images(folder, background=True)
    assert listing.class_names[0] == "BACKGROUND_Google"
    assert len(listing.files) == 20
    (folder / "sunflower/image_0001.jpg").unlink()
    with pytest.raises(SettingsError, match=r"16 of 17 images of Caltech-101, missing: sunflower/image_0001\.jpg; "):
        list_images(folder, background=False)
    listing = list_images(folder, background=False, skip_missing=True)
    assert (len(listing.files), listing.missing) == (16, ["sunflower/image_0001.jpg"])
    (folder / "sunflower/own.jpg").touch()
    with pytest.raises(SettingsError, match=r"17 of 17 images of Caltech-101, .*not of it: sunflower/own\.jpg; "):
        list_images(folder, background=False, skip_missing=True)


def test_grey_images_become_rgb(stand_in_archives: Path, tmp_path: Path) -> None:
    path = image_folder(tmp_path / "root", stand_in_archives) / "Faces/image_0001.jpg"
    assert Image.open(path).mode == "L"
    pixels = decode(path)
    assert pixels.shape == (256, 256, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all()


def test_background_has_a_cache_of_its_own(stand_in_settings: DataSettings) -> None:
    data = Caltech101(stand_in_settings, 227, seed=1)
    data.prepare_data()
    with_background = Caltech101(DataSettings(**{**vars(stand_in_settings), "background": True}), 227, seed=1)
    assert len(with_background.read().images) == 20
    caches = Path(stand_in_settings.root, "cache").glob("*.npy")
    assert sorted(path.name for path in caches) == ["caltech101.npy", "caltech101_with_background.npy"]


def test_near_duplicates_are_listed() -> None:
    assert len(list(near_duplicate_pairs([]))) == 73
    assert ("Faces/image_0001.jpg", "Faces_easy/image_0001.jpg") in list(near_duplicate_pairs(["Faces/image_0001.jpg"]))


def test_real_counts(real_data: Caltech101, real_settings: DataSettings) -> None:
    assert len(real_data.class_names) == 101
    assert len(real_data.files) == len(real_data.targets) == len(real_data.image_set.images) == 8_677
    assert np.bincount(real_data.targets)[real_data.class_names.index("inline_skate")] == 31
    archives = Path(real_settings.archives) if real_settings.archives else None
    listing = list_images(image_folder(Path(real_settings.root), archives), background=True)
    assert (len(listing.class_names), len(listing.files)) == (102, 9_144)
    assert listing.missing == []


def test_real_car_sides_are_grey_but_rgb(real_data: Caltech101) -> None:
    for i in np.flatnonzero(real_data.targets == real_data.class_names.index("car_side"))[:20]:
        pixels = real_data.image_set.images[i].astype(int)
        assert np.ptp(pixels, axis=2).max() == 0


def test_real_cache_equals_decoding(real_data: Caltech101, real_settings: DataSettings) -> None:
    decoded = Caltech101(DataSettings(**{**vars(real_settings), "cache": False}), 227, seed=1).read()
    for i in range(0, 8_677, 500):
        np.testing.assert_array_equal(real_data.image_set.images[i], decoded.images[i])


KINDS = [DataSettings(split="fraction"), DataSettings(split="per_class")]


@pytest.mark.parametrize("settings", KINDS, ids=["fraction", "per_class"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_real_pictures_stay_on_one_side(real_data: Caltech101, settings: DataSettings, seed: int) -> None:
    settings = DataSettings(**{**vars(settings), "seed": seed})
    group = groups(real_data.files, near_duplicate_pairs(real_data.files))
    parts = split(real_data.targets, group, real_data.class_names, settings)
    index = {file: i for i, file in enumerate(real_data.files)}
    side = {index: name for name in ("train", "val", "test") for index in getattr(parts, name)}
    pairs = [(index[a], index[b]) for a, b in near_duplicate_pairs(real_data.files) if a in index]
    assert len(pairs) > 435
    for a, b in pairs:
        sides = {side.get(a), side.get(b)} - {None}
        assert len(sides) <= 1, (real_data.files[a], real_data.files[b])
    sizes = np.bincount(real_data.targets)
    test = np.bincount(real_data.targets[parts.test])
    if settings.split == "fraction":
        assert test.tolist() == [round(0.2 * n) for n in sizes]
    else:
        assert (np.bincount(real_data.targets[np.union1d(parts.train, parts.val)]) == 30).all()
        assert test.tolist() == np.minimum(50, sizes - 30).tolist()


def test_real_smallest_class_limits_the_training_part(real_data: Caltech101) -> None:
    settings = DataSettings(split="per_class", train_per_class=31)
    with pytest.raises(SettingsError, match=r"train_per_class=31: inline_skate has 31 images"):
        split(real_data.targets, real_data.image_set.groups, real_data.class_names, settings)


def test_real_probes_exist_and_batches_are_normal(real_data: Caltech101) -> None:
    probes = real_data.find([])
    assert len(set(real_data.targets[probes].tolist())) == 8
    assert real_data.images(probes).shape == (8, 3, 227, 227)
    images = np.stack([real_data.image_set.images[i] for i in real_data.split.train[::50]]) / 255
    np.testing.assert_allclose(images.mean((0, 1, 2)), MEAN, atol=0.03)
    np.testing.assert_allclose(images.std((0, 1, 2)), STD, atol=0.03)
