"""Whatever a file holds, images, archives and runs' folders are read, or answered in one line; nothing is left outside."""

import contextlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import page
from configs import SettingsError
from datamodules.cache import BrokenImageError
from datamodules.caltech101.archives import extract_from_zip, unpack_tar
from datamodules.decoding import SIDE, decode
from tests.datamodules.stand_in import add, jpeg
from tests.faults.random_input import damaged, tries
from tests.pages.made_run import make_run


def image_files() -> list[bytes]:
    """A picture in each format, with and without transparency."""
    picture = Image.open(io.BytesIO(jpeg(1)))
    files = []
    for kind, mode in [
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("GIF", "P"),
        *((kind, "RGB") for kind in ("JPEG", "WEBP", "TIFF", "BMP")),
    ]:
        file = io.BytesIO()
        picture.convert(mode).save(file, kind)
        files.append(file.getvalue())
    return files


def archive_files() -> list[bytes]:
    """A zip and two tars, one of them compressed, of a few small files."""
    files = []
    for mode in ("w:", "w:gz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as tar:
            for number in range(3):
                add(tar, f"cat/{number}.jpg", jpeg(number))
        files.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("caltech/cats.tar.gz", files[1])
    return [*files, file.getvalue()]


def assert_one_line(text: str) -> None:
    assert text.strip().isprintable()
    assert text.strip()


@pytest.mark.slow
@tries(600)
@given(content=damaged(st.sampled_from(image_files())))
def test_any_image_is_decoded_or_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    file.write_bytes(content)
    try:
        assert decode(file).shape == (SIDE, SIDE, 3)
    except BrokenImageError as problem:
        assert_one_line(problem.reason)


@pytest.mark.slow
@tries(400)
@given(content=damaged(st.sampled_from(archive_files())))
def test_any_archive_is_unpacked_or_one_line(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("archive")
    archive, target = place / "archive", place / "partial"
    archive.write_bytes(content)
    target.mkdir()
    for as_tar in (True, False):
        try:
            unpack_tar(archive, target) if as_tar else extract_from_zip(archive, {"cats.tar.gz"}, target)
        except SettingsError as mistake:
            assert_one_line(str(mistake))
    assert sorted(place.iterdir()) == [archive, target]


@pytest.mark.slow
@tries(40)
@given(data=st.data())
def test_any_runs_folder_is_a_page_or_one_line(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = make_run(tmp_path_factory.mktemp("runs") / "run")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    for _ in range(data.draw(st.integers(1, 3))):
        file = data.draw(st.sampled_from(files))
        file.write_bytes(data.draw(damaged(st.just(file.read_bytes()))))
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = page.main([str(folder)])
    if status:
        assert status == 2
        assert_one_line(said.getvalue())
