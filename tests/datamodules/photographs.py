"""Folders of small photographs, as people have them."""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.datamodules.stand_in import jpeg

ENDS = {"bmp": "BMP", "png": "PNG", "tif": "TIFF", "webp": "WEBP"}


def write(folder: Path, *files: str, size: tuple[int, int] = (40, 30)) -> None:
    """Write files of these paths below a folder, each image of its own colours and in the format of its name's end."""
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        content = jpeg(zlib.crc32(file.encode()), size)
        if (end := path.suffix[1:]) in ENDS:
            stream = io.BytesIO()
            Image.open(io.BytesIO(content)).save(stream, ENDS[end])
            content = stream.getvalue()
        path.write_bytes(content)


def numbered(place: str, count: int, end: str = "jpg") -> list[str]:
    return [f"{place}/{number:02d}.{end}" for number in range(count)]


def write_mask(file: Path, inside: np.ndarray, brightest: int = 255) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((inside * brightest).astype(np.uint8)).save(file)
