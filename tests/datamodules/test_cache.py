"""The cache holds what decoding gives, follows the files, and is built once however many ask."""

import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stand_in import STAND_IN_CLASSES, STAND_IN_IMAGES, jpeg

from configs import DataSettings, SettingsError
from datamodules import Caltech101
from datamodules.cache import cached_images
from datamodules.caltech101 import decode

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


def test_image_of_absurd_size_is_refused(folder: Path) -> None:
    (folder / FILES[0]).write_bytes(jpeg(1, size=(5000, 5000)))
    with pytest.raises(SettingsError, match="5000 x 5000 pixels are too many"):
        decode(folder / FILES[0])


def test_unwritable_folder_names_the_settings(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"data\.cache_dir=.*data\.cache=false"):
        cached_images(tmp_path / "file/images.npy", folder, FILES, decode)


TWO_AT_ONCE = """
import sys
from pathlib import Path
from configs import DataSettings
from datamodules import Caltech101, caltech101, caltech101_files
caltech101_files.CLASS_COUNT, caltech101_files.IMAGE_COUNT = map(int, sys.argv[4:])
unpack, decode = caltech101_files.unpack_tar, caltech101.decode
def log(word):
    with open(sys.argv[3], "a") as file:
        file.write(word + chr(10))
def logged_unpack(*arguments):
    log("unpacked")
    unpack(*arguments)
def logged_decode(path):
    log("decoded")
    return decode(path)
caltech101_files.unpack_tar, caltech101.decode = logged_unpack, logged_decode
data = Caltech101(DataSettings(root=sys.argv[1], archives=sys.argv[2]), 227, seed=1)
print("ready", flush=True)
sys.stdin.readline()
print(sum(int(image.sum()) for image in (data.read().images[i] for i in range(int(sys.argv[5])))))
"""


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


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


def test_two_processes_at_once_unpack_and_decode_once(stand_in_settings: DataSettings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = (stand_in_settings.root, stand_in_settings.archives, log, STAND_IN_CLASSES, STAND_IN_IMAGES)
    processes = [python(TWO_AT_ONCE, *arguments) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    sums = [process.communicate(timeout=50)[0] for process in processes]
    assert sums[0] == sums[1] != ""
    words = log.read_text().split()
    assert words.count("unpacked") == 2  # the images and the annotations
    assert words.count("decoded") == STAND_IN_IMAGES
