"""Small files in the place of Caltech-101's."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.caltech101 import checksums

STAND_IN = {"BACKGROUND_Google": 3, "Faces": 6, "Faces_easy": 6, "sunflower": 5}
STAND_IN_IMAGES = 17


def jpeg(seed: int, size: tuple[int, int] = (40, 30), grey: bool = False) -> bytes:
    """A JPEG file of smooth random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    (image.convert("L") if grey else image).save(file, "JPEG")
    return file.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def trust(monkeypatch: pytest.MonkeyPatch, *archives: Path) -> None:
    """Count these archives, as they are now, among the published ones."""
    digests = {hashlib.sha256(archive.read_bytes()).hexdigest() for archive in archives}
    monkeypatch.setattr(checksums, "CHECKSUMS", checksums.CHECKSUMS | digests)
