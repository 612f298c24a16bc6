"""Image files as people have them: opened safely, turned upright, with 8 bits for each value."""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may read: the formats of photographs. Others of its formats start programs (EPS) or are hardly ever tested."""

WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N")  # 16 bits for each pixel, of which Pillow's own conversion keeps the lower 8

UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, OverflowError, MemoryError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for files that are cut short, changed or no images: it has no error of its own for them."""


class UnreadableImageError(OSError):
    """A file that can't be read as a photograph; ``reason`` says why, without its path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} can't be read as a photograph: {reason.rstrip('.')}.")
        self.reason = reason


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file of any of ``FORMATS`` for the ``with`` block.

    Raises:
        UnreadableImageError: for all that Pillow raises meanwhile, as it decodes an image only when it is used.
        OSError: the system's own, such as FileNotFoundError.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no file")  # a pipe would be waited for without end
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise UnreadableImageError(path, _reason(error)) from error


def as_people_see_it(image: Image.Image) -> Image.Image:
    """Turn an image as its camera was held, with 8 bits for each value and white behind what is transparent.

    Grey stays grey. Raises ValueError for values without a fixed range.
    """
    image = ImageOps.exif_transpose(image)  # cameras store how they were held beside the pixels
    if image.mode in WIDE_GREY:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its values have no fixed range: save it with 8 or 16 bits")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), transparent).convert("RGB")
    return image.copy()


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"
    return (str(error) or type(error).__name__).splitlines()[0]
