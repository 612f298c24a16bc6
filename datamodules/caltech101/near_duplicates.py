"""Files of Caltech-101 that show the same thing, which a split must keep together."""

from collections.abc import Iterator, Sequence
from pathlib import Path

NEAR_DUPLICATES = Path(__file__).with_name("near_duplicates.tsv")


def near_duplicate_pairs(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of files: the near-duplicates listed beside this module, and each photograph of Faces with its Faces_easy."""
    for line in NEAR_DUPLICATES.read_text(encoding="utf-8").splitlines():
        if not line.startswith(("#", "category_a")):
            category_a, file_a, category_b, file_b = line.split("\t")
            yield f"{category_a}/{file_a}", f"{category_b}/{file_b}"
    for file in files:
        category, _, name = file.partition("/")
        if category == "Faces":
            yield file, f"Faces_easy/{name}"
