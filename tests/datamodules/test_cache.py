"""The cache holds what decoding gives, follows the files, and is built once however many ask."""

import multiprocessing
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import DataSettings, SettingsError
from datamodules.cache import BLOCK, cached_images, check_cache
from datamodules.caltech101 import datamodule as caltech101
from datamodules.caltech101 import files
from datamodules.caltech101.archives import unpack_tar
from datamodules.caltech101.datamodule import Caltech101
from datamodules.decoding import decode
from tests.datamodules.stand_in import STAND_IN_IMAGES, jpeg

FILES = ["a/1.jpg", "a/2.jpg", "b/1.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, file in enumerate(FILES):
        path = tmp_path / "images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed))
    return tmp_path / "images"


class CountingDecoder:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: Path) -> np.ndarray:
        self.count += 1
        return decode(path)


def test_pixels_are_those_of_decoding(stand_in_settings: DataSettings) -> None:
    cached = Caltech101(stand_in_settings, 227, seed=1).read()
    decoded = Caltech101(DataSettings(**{**vars(stand_in_settings), "cache": False}), 227, seed=1).read()
    assert len(cached.images) == len(decoded.images) == STAND_IN_IMAGES
    for i in range(STAND_IN_IMAGES):
        assert cached.images[i].shape == (256, 256, 3)
        np.testing.assert_array_equal(cached.images[i], decoded.images[i])


def test_cache_is_rebuilt_when_and_only_when_files_change(folder: Path, tmp_path: Path) -> None:
    path, decoder = tmp_path / "cache/images.npy", CountingDecoder()
    cached_images(path, folder, FILES, decoder)
    cached_images(path, folder, FILES, decoder)
    assert decoder.count == 3
    (folder / FILES[1]).write_bytes(jpeg(99))
    np.testing.assert_array_equal(cached_images(path, folder, FILES, decoder)[1], decode(folder / FILES[1]))
    assert decoder.count == 6
    os.utime(folder / FILES[0], (1, 1))
    cached_images(path, folder, FILES, decoder)
    assert decoder.count == 9
    assert len(cached_images(path, folder, FILES[:2], decoder)) == 2
    path.write_bytes(path.read_bytes()[:-1])  # a cache that was cut short
    cached_images(path, folder, FILES[:2], decoder)
    assert decoder.count == 13
    assert sorted(file.name for file in path.parent.iterdir() if file.suffix != ".lock") == ["images.json", "images.npy"]


def test_other_processes_open_the_file_for_themselves(folder: Path, tmp_path: Path) -> None:
    images = cached_images(tmp_path / "images.npy", folder, FILES, decode)
    sent = pickle.dumps(images)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[2], images[2])


def test_writing_to_an_image_leaves_the_cache_alone(folder: Path, tmp_path: Path) -> None:
    images = cached_images(tmp_path / "images.npy", folder, FILES, decode)
    images[0][:] = 0
    np.testing.assert_array_equal(cached_images(tmp_path / "images.npy", folder, FILES, decode)[0], decode(folder / FILES[0]))


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not found</html>", jpeg(1)[:300], b"\x89PNG\r\n\x1a\n" + bytes(50)],
    ids=["empty", "html", "cut", "png"],
)
def test_corrupt_image_is_named_and_leaves_nothing(folder: Path, tmp_path: Path, content: bytes) -> None:
    (folder / FILES[1]).write_bytes(content)
    with pytest.raises(SettingsError, match=r"a/2\.jpg: cannot be decoded"):
        cached_images(tmp_path / "cache/images.npy", folder, FILES, decode)
    assert [file.name for file in (tmp_path / "cache").iterdir() if file.suffix != ".lock"] == []


def test_unwritable_folder_names_the_settings(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"data\.cache_dir=.*data\.cache=false"):
        cached_images(tmp_path / "file/images.npy", folder, FILES, decode)


def test_full_disk_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(SettingsError, match=r"data\.cache_dir=.*data\.cache=false") as caught:
            cached_images(tmp_path / "cache/images.npy", folder, FILES, decode)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert [file.name for file in (tmp_path / "cache").iterdir() if file.suffix != ".lock"] == []


def test_two_processes_at_once_unpack_and_decode_once(
    stand_in_settings: DataSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"

    def logged(function: Callable[..., Any], word: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with open(log, "a") as file:
                file.write(f"{word}\n")
            return function(*arguments)

        return call

    monkeypatch.setattr(files, "unpack_tar", logged(unpack_tar, "unpacked"))
    monkeypatch.setattr(caltech101, "decode", logged(decode, "decoded"))
    processes = multiprocessing.get_context("fork")
    start, sums = processes.Barrier(2), processes.Queue()

    def ask() -> None:
        start.wait(timeout=30)
        images = Caltech101(stand_in_settings, 227, seed=1).read().images
        sums.put(sum(int(images[i].sum()) for i in range(STAND_IN_IMAGES)))

    both = [processes.Process(target=ask) for _ in range(2)]
    for process in both:
        process.start()
    assert sums.get(timeout=30) == sums.get(timeout=30) > 0
    for process in both:
        process.join(timeout=30)
        assert process.exitcode == 0
    words = log.read_text().split()
    assert words.count("unpacked") == 2  # the images and the annotations
    assert words.count("decoded") == STAND_IN_IMAGES


def large(folder: Path, count: int = 40) -> list[str]:
    """So many images that their cache has several blocks."""
    names = [f"c/{number:02d}.jpg" for number in range(count)]
    (folder / "c").mkdir()
    for seed, name in enumerate(names):
        (folder / name).write_bytes(jpeg(seed))
    return names


@pytest.mark.parametrize("damage", ["header", "bit", "garbage"])
def test_a_damaged_cache_of_the_right_size_is_built_anew(
    damage: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, names = tmp_path / "cache/images.npy", large(folder)
    cached_images(path, folder, names, decode)
    whole, stamp = path.read_bytes(), path.stat().st_mtime_ns
    broken = bytearray(whole)
    match damage:
        case "header":
            broken[20] ^= 1
        case "bit":
            broken[3 * BLOCK + 5] ^= 4
        case "garbage":
            broken = bytearray(np.random.default_rng(1).bytes(len(whole)))
    path.write_bytes(broken)
    os.utime(path, ns=(stamp, stamp))
    images = cached_images(path, folder, names, decode)
    assert path.read_bytes() == whole
    np.testing.assert_array_equal(images[39], decode(folder / names[39]))
    assert capsys.readouterr().out == f"{path}: damaged, so it is built anew\n"
    cached_images(path, folder, names, decode)
    assert capsys.readouterr().out == ""


def test_the_check_reads_all_blocks(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, names = tmp_path / "images.npy", large(folder)
    assert check_cache(path, folder, names) == (True, f"{path}: there is no cache yet")
    cached_images(path, folder, names, decode)
    assert check_cache(path, folder, names) == (True, f"{path}: sound")
    assert check_cache(path, folder, names[1:])[1].endswith("out of date; the next start builds it anew")
    monkeypatch.setattr("datamodules.cache.SAMPLED", 0)
    content = bytearray(path.read_bytes())
    content[-1] ^= 128
    path.write_bytes(content)
    decoder = CountingDecoder()
    cached_images(path, folder, names, decoder)
    assert decoder.count == 0, "one block of many may escape the sample"
    blocks = -(-len(content) // BLOCK)
    assert check_cache(path, folder, names) == (
        False,
        f"{path}: 1 of {blocks} blocks are damaged; the next start builds it anew",
    )
    cached_images(path, folder, names, decoder)
    assert decoder.count == 40
    assert check_cache(path, folder, names)[0]


def test_broken_images_are_left_out_where_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    path, decoder = tmp_path / "cache/images.npy", CountingDecoder()
    (folder / FILES[0]).write_bytes(b"")
    (folder / FILES[2]).unlink()
    images = cached_images(path, folder, FILES, decoder, skip_broken=True)
    assert images.broken == {FILES[0]: "it is no image of a known format", FILES[2]: "No such file or directory"}
    assert len(images) == 1
    np.testing.assert_array_equal(images[0], decode(folder / FILES[1]))
    cached_images(path, folder, FILES, decoder, skip_broken=True)
    assert decoder.count == 3, "what is broken is remembered"
    with pytest.raises(SettingsError, match=r"^2 of 3 images can't be read; .* data\.skip_broken=true: "):
        cached_images(path, folder, FILES, decoder)
    assert decoder.count == 3
    (folder / FILES[0]).write_bytes(jpeg(0))
    assert len(cached_images(path, folder, FILES, decoder, skip_broken=True)) == 2
    for file in FILES[:2]:
        (folder / file).unlink()
    with pytest.raises(SettingsError, match="3 of 3 images"):
        cached_images(path, folder, FILES, decoder, skip_broken=True)
