"""Images of every format come as they are seen: upright, in RGB, over white; and a damaged one is refused in one line."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import SettingsError
from datamodules.cache import Pixels
from datamodules.decoding import SIDE, decode, image_suffixes, is_hidden, is_image, read_grey, upright_size
from viz_callbacks.lens.image_files import FORMATS

ENDS = {
    "AVIF": "avif", "BMP": "bmp", "GIF": "gif", "JPEG": "jpg", "JPEG2000": "jp2", "MPO": "mpo", "PNG": "png", "PPM": "ppm",
    "TIFF": "tif", "WEBP": "webp",
}  # fmt: skip
EXACT = {"BMP": {}, "JPEG2000": {"irreversible": False}, "PNG": {}, "PPM": {}, "TIFF": {}, "WEBP": {"lossless": True}}


@pytest.fixture
def picture() -> Pixels:
    """A picture without any symmetry, of the size that is stored, so that resizing leaves it alone."""
    small = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def test_every_format_is_tried_here() -> None:
    assert set(ENDS) == {*FORMATS, "MPO"}
    assert {f".{end}" for end in ENDS.values()} <= image_suffixes()


@pytest.mark.parametrize("name", ENDS)
def test_every_format_is_read(name: str, picture: Pixels, tmp_path: Path) -> None:
    file = tmp_path / f"photo.{ENDS[name]}"
    Image.fromarray(picture).save(file, name, **EXACT.get(name, {}))
    assert is_image(file)
    assert upright_size(file) == (SIDE, SIDE)
    error = np.abs(decode(file).astype(int) - picture)
    assert error.max() == 0 if name in EXACT else error.mean() < 25


@pytest.mark.parametrize("name", ["photo.jpg", "PHOTO.PNG", "x.jpeg"])
def test_the_content_counts_and_not_the_name(name: str, picture: Pixels, tmp_path: Path) -> None:
    Image.fromarray(picture).save(tmp_path / name, "WEBP", lossless=True)
    assert is_image(tmp_path / name)
    np.testing.assert_array_equal(decode(tmp_path / name), picture)


# How a camera has stored what is seen upright. By the EXIF standard's table of the tag Orientation: which side of the scene the
# first row and the first column are.
STORED = {
    1: lambda seen: seen,  # top, left
    2: lambda seen: seen[:, ::-1],  # top, right
    3: lambda seen: seen[::-1, ::-1],  # bottom, right
    4: lambda seen: seen[::-1],  # bottom, left
    5: lambda seen: seen.transpose(1, 0, 2),  # left, top
    6: lambda seen: seen.transpose(1, 0, 2)[::-1],  # right, top
    7: lambda seen: seen.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
    8: lambda seen: seen.transpose(1, 0, 2)[:, ::-1],  # left, bottom
}


@pytest.mark.parametrize("orientation", STORED)
def test_a_photograph_is_upright_however_the_camera_was_held(orientation: int, picture: Pixels, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](picture))
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "photo.png"), picture)
    grey = np.asarray(Image.fromarray(picture).convert("F"))
    np.testing.assert_allclose(read_grey(tmp_path / "photo.png"), grey)
    wide = np.ascontiguousarray(STORED[orientation](picture[:30, :40]))
    Image.fromarray(wide).save(tmp_path / "wide.png", exif=exif)
    assert upright_size(tmp_path / "wide.png") == (40, 30)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    colour, alpha = np.array([10, 200, 90]), 64
    pixels = np.full((SIDE, SIDE, 4), (*colour, alpha), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = np.rint(colour * alpha / 255 + 255 * (1 - alpha / 255))
    assert np.abs(decode(tmp_path / "a.png") - expected).max() <= 1
    palette = Image.new("P", (SIDE, SIDE), 0)
    palette.putpalette([9, 9, 9, 50, 60, 70])
    palette.paste(1, (0, 0, SIDE, SIDE // 2))
    palette.save(tmp_path / "p.gif", transparency=0)
    found = decode(tmp_path / "p.gif")
    assert found[0, 0].tolist() == [50, 60, 70]
    assert found[-1, 0].tolist() == [255, 255, 255]


def test_grey_of_8_and_16_bits_and_black_and_white_become_rgb(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1))
    Image.fromarray(ramp).save(tmp_path / "8.png")
    Image.fromarray(ramp.astype(np.uint16) * 256 + 255).save(tmp_path / "16.png")
    Image.fromarray(ramp.astype(np.uint16) * 256).save(tmp_path / "16.tif")
    for name in ("8.png", "16.png", "16.tif"):
        np.testing.assert_array_equal(decode(tmp_path / name), np.stack([ramp] * 3, 2))
    Image.fromarray(ramp > 100).save(tmp_path / "1.png")
    np.testing.assert_array_equal(decode(tmp_path / "1.png")[..., 0], np.where(ramp > 100, 255, 0))


def test_values_without_a_range_are_refused_with_what_to_do(tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9), 0.5, dtype=np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(SettingsError, match=r"x\.tif: cannot be decoded .*save it with 8 or 16 bits"):
        decode(tmp_path / "x.tif")


def test_formats_that_start_programs_are_refused_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(SettingsError, match="no image of a known format"):
        decode(tmp_path / "x.png")
    assert not is_image(tmp_path / "x.eps")


def test_an_image_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (3000, 3000)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    with pytest.raises(SettingsError, match=r"9000000 pixels\) exceeds limit"):
        decode(tmp_path / "x.png")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ENDS)
def test_a_file_damaged_in_any_way_is_refused_or_read(name: str, tmp_path: Path) -> None:
    file, rng, refusals = tmp_path / f"x.{ENDS[name]}", random.Random(1), list[str]()
    small = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(small).save(file, name, **({} if name in ("GIF", "BMP", "PPM", "JPEG2000") else {"exif": exif}))
    whole = file.read_bytes()
    for turn in range(60):
        damaged = bytearray(whole[: rng.randrange(len(whole))] if turn % 3 == 0 else whole)
        for _ in range(min(len(damaged), turn % 5)):
            damaged[rng.randrange(min(200, len(damaged)))] = rng.randrange(256)  # the headers are where it matters
        file.write_bytes(damaged)
        for read in (decode, read_grey, upright_size):
            try:
                read(file)
            except SettingsError as error:
                refusals.append(str(error))
    assert len(refusals) > 10
    assert [each for each in refusals if "\n" in each or str(file) not in each] == []


@pytest.mark.parametrize(
    "name", ["._x.jpg", ".DS_Store", ".ipynb_checkpoints", "Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir"]
)
def test_what_programs_leave_is_hidden(name: str) -> None:
    assert is_hidden(Path("cat", name))
    assert not is_hidden(Path(".cache/photos", f"my{name}"))
