"""Pictures on disk: each file is written whole or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from viz_callbacks.callbacks.picture_folder import Picture, PictureFolder, write_whole


def picture(place: str, **ranges: float) -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Picture(place, Image.fromarray(pixels), "caption", {"part": pixels}, ranges, {"map": 3})


def test_an_entry_names_the_files_and_has_the_facts(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    assert folder.index() == {}
    assert folder.save([picture("a/conv1", white=2.0, none=float("nan"))], 7) == [tmp_path / "a/conv1/epoch-007.jpg"]
    assert folder.index() == {
        "7": [
            {
                "place": "a/conv1",
                "sheet": "a/conv1/epoch-007.jpg",
                "sprites": {"part": "a/conv1/sprites/epoch-007-part.webp"},
                "caption": "caption",
                "ranges": {"white": 2.0, "none": None},
                "map": 3,
            }
        ]
    }
    folder.save([picture("b")], 8)
    folder.save([], 9)
    assert list(folder.index()) == ["7", "8"]


@pytest.mark.parametrize(("height", "names", "exact"), [(32, (), True), (33, (), False), (33, ("part",), True)])
def test_sprites_are_kept_exactly_where_they_have_to_be(
    height: int, names: tuple[str, ...], exact: bool, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, 40, 3), dtype=np.uint8)
    PictureFolder(tmp_path, names).save([replace(picture("a"), sprites={"part": pixels})], 1)
    sprite = np.asarray(Image.open(tmp_path / "a/sprites/epoch-001-part.webp"))
    assert np.array_equal(sprite, pixels) == exact


def test_a_write_that_fails_leaves_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "index.json"
    write_whole(file, b"earlier")

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match=f"No space left on device: '{file}'"):
        write_whole(file, b"later and longer")
    with pytest.raises(OSError, match=r"No space left on device: '.*epoch-001.jpg'"):
        PictureFolder(tmp_path).save([picture("a")], 1)
    monkeypatch.undo()
    assert file.read_bytes() == b"earlier"
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [file], "no half a file beside it"


@pytest.mark.parametrize("text", ["", '{"1": [', "[]", "\x00"])
def test_a_damaged_index_counts_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    folder = PictureFolder(tmp_path)
    assert folder.index() == {}
    folder.save([picture("a")], 2)
    assert list(folder.index()) == ["2"]
