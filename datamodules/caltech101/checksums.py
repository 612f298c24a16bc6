"""The published archives of Caltech-101, known by their checksums: no other archive is ever opened.

Li, Andreeto, Ranzato, Perona: Caltech 101 (1.0), CaltechDATA 2022, doi:10.22002/D1.20086, CC BY 4.0. The publisher gives MD5
for the archives inside the zip. That two files can be made with one MD5 doesn't help to make another file with a given one.
"""

import hashlib
from pathlib import Path

from configs import SettingsError

ZIP_SHA256 = "331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91"
ZIP_MD5 = "3138e1922a9193bfa496528edbbc45d0"

CHECKSUMS = {
    ZIP_SHA256,  # caltech-101.zip
    "b224c7392d521a49829488ab0f1120d9",  # 101_ObjectCategories.tar.gz in it
    "6f83eeb1f24d99cab4eb377263132c91",  # Annotations.tar in it
    "e264acebc10a07fb72bed26e42f15a9ed31e9455b55a73fbf2dc9608cc9ebccf",  # the same images packed anew
    "a72791d7d5cdc5f5de07dd55ab99a7245a2663a769d278ea5b44723bcf272f9c",  # the same annotations packed anew, as tar.gz
}
"""SHA-256 where it is known, else MD5."""

LARGEST = 200_000_000  # bytes; the zip has 137,414,764


def verify(archive: Path) -> None:
    """Raise SettingsError if a file is none of the published archives. Reads it once, and nothing that is too large."""
    size = archive.stat().st_size
    if size <= LARGEST:
        digests = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        with archive.open("rb") as file:
            while block := file.read(1 << 20):
                for digest in digests:
                    digest.update(block)
        if CHECKSUMS & {digest.hexdigest() for digest in digests}:
            return
    raise SettingsError(
        f"{archive}: not opened, as it is none of the published archives ({size:,} bytes, other checksums): damaged or packed "
        "anew. If you trust it, unpack it yourself and set data.root to that folder; leave data.archives out to download it"
    )
