"""Pictures on disk: the index is written whole or not at all."""

import json
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


@pytest.mark.parametrize("lossless", [False, True])
def test_sprites_are_kept_exactly_where_they_have_to_be(lossless: bool, tmp_path: Path) -> None:
    made = picture("a")
    PictureFolder(tmp_path, lossless).save([made], 1)
    sprite = np.asarray(Image.open(tmp_path / "a/sprites/epoch-001-part.webp"))
    assert np.array_equal(sprite, made.sprites["part"]) == lossless


def test_a_write_that_fails_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "index.json"
    write_whole(file, json.dumps({"1": []}))

    def half(path: Path, text: str) -> int:
        path.write_bytes(text[: len(text) // 2].encode())
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, json.dumps({"1": [], "2": []}))
    assert json.loads(file.read_text()) == {"1": []}
    assert list(tmp_path.iterdir()) == [file], "no half a file beside it"
