"""Pictures on disk: sheets that people open, their parts at native size, and an index that says what is there.

One folder for each kind of picture, whatever the logger::

    folder/index.json                       by epoch: places, files, captions, ranges and further facts
    folder/<place>/epoch-001.jpg            the sheet that people open, and W&B gets
    folder/<place>/sprites/epoch-001-*.webp its parts at native size, for pages that are built later
"""

import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from viz_callbacks.drawing.pixels import Pixels

TINY = 32  # pixels: what is no higher is enlarged wherever it is shown, and costs little

Index = dict[str, list[dict[str, Any]]]
"""By epoch (from 1, as a string) one entry for each sheet, as ``PictureFolder`` writes it."""


@dataclass(frozen=True)
class Picture:
    """One sheet and what belongs to it.

    Attributes:
        place: its folder, such as ``<probe>/<layer>``.
        sheet: what people open.
        caption: in W&B and in the index.
        sprites: its parts at native size, by name.
        ranges: what white means, by name.
        facts: further entries of the index, of what JSON knows.
    """

    place: str
    sheet: Image.Image
    caption: str
    sprites: Mapping[str, Pixels]
    ranges: Mapping[str, float]
    facts: Mapping[str, object]


class PictureFolder:
    """The folder of one kind of picture.

    Args:
        folder: made where it doesn't exist.
        lossless_sprites: names of the sprites whose single pixels are seen later, which a lossy WebP blurs. Others are kept
            to the last bit where they are tiny.
    """

    def __init__(self, folder: Path, lossless_sprites: Collection[str] = ()) -> None:
        self.folder = folder
        self.lossless_sprites = lossless_sprites

    def save(self, pictures: Sequence[Picture], epoch: int) -> list[Path]:
        """Write the pictures of an epoch (from 1), then the index. Returns the files of the sheets."""
        with ThreadPoolExecutor() as pool:  # Pillow encodes outside Python's lock
            files = list(pool.map(lambda picture: self._save_picture(picture, epoch), pictures))
        if pictures:
            index = self.index()
            index[f"{epoch}"] = [self._entry(picture, epoch) for picture in pictures]
            write_whole(self.folder / "index.json", json.dumps(index, indent=1).encode())
        return files

    def index(self) -> Index:
        """Read what the folder holds; nothing where it is new or its index is damaged."""
        try:
            index = json.loads((self.folder / "index.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return index if isinstance(index, dict) else {}

    def _save_picture(self, picture: Picture, epoch: int) -> Path:
        folder = self.folder / picture.place
        (folder / "sprites").mkdir(parents=True, exist_ok=True)
        sheet = folder / f"epoch-{epoch:03d}.jpg"
        save_whole(picture.sheet, sheet, quality=88, subsampling=0)
        for name, pixels in picture.sprites.items():
            sprite = folder / "sprites" / f"epoch-{epoch:03d}-{name}.webp"
            exact = name in self.lossless_sprites or pixels.shape[0] <= TINY
            kind = {"lossless": True, "quality": 20} if exact else {"quality": 60}  # without loss it means effort
            save_whole(Image.fromarray(pixels), sprite, method=2, **kind)
        return sheet

    def _entry(self, picture: Picture, epoch: int) -> dict[str, object]:
        return {
            "place": picture.place,
            "sheet": f"{picture.place}/epoch-{epoch:03d}.jpg",
            "sprites": {name: f"{picture.place}/sprites/epoch-{epoch:03d}-{name}.webp" for name in picture.sprites},
            "caption": picture.caption,
            "ranges": {name: value if math.isfinite(value) else None for name, value in picture.ranges.items()},
            **picture.facts,
        }


def save_whole(image: Image.Image, file: Path, **options: int) -> None:
    """Write an image as ``Image.save``, whole or not at all."""
    encoded = io.BytesIO()
    image.save(encoded, format={".jpg": "JPEG", ".webp": "WEBP"}[file.suffix], **options)
    write_whole(file, encoded.getvalue())


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a neighbour first, which then takes its place.

    Raises:
        OSError: it can't be written; it names ``file``.
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, str(file)) from problem
    finally:
        partial.unlink(missing_ok=True)
