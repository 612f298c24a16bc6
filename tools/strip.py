"""Put runs' sprites into one picture: a row for each run, from Deconvolution of an image's conv1 to its DeNet.

python -m tools.strip runs/alexnet-caltech101-seed1 runs/zfnet-caltech101-seed1 --probe Faces-image_0327 --out strip.png
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from viz_callbacks.drawing.layout import stack_vertically
from viz_callbacks.drawing.pixels import Pixels
from viz_callbacks.drawing.sheets import row_sheet

SIDE = 224  # pixels of each picture
SPRITES = {"deconvolution": ("projection",), "denet": ("denet-true-class", "denet-predicted-class")}
"""What is shown, by the kind of picture."""


def projection_strip(run: Path, probe: str, epoch: int | None) -> Image.Image:
    """Lay out the projections of all layers and the two of DeNet of one probe, at an epoch or, for None, at the last.

    Raises:
        ValueError: there are no pictures of this probe at this epoch.
    """
    tiles: list[tuple[str, Pixels]] = []
    for kind, names in SPRITES.items():
        folder = run / "pictures" / kind
        index = json.loads((folder / "index.json").read_text())
        epoch = epoch or max(map(int, index))
        entries = {entry["place"]: entry["sprites"] for entry in index.get(f"{epoch}", [])}
        known = {place.partition("/")[0] for place in entries}
        if probe not in known:
            raise ValueError(
                f"{folder}: no pictures of {probe} at epoch {epoch}; there are {', '.join(sorted(known)) or 'none'}"
            )
        for place, sprites in entries.items():
            shown, _, layer = place.partition("/")
            if shown == probe:
                chosen = [(name, file) for name, file in sprites.items() if name in names]
                tiles += [(layer or name.replace("-", " "), _load(folder / file)) for name, file in chosen]
    return row_sheet([f"{run.name}, {probe}, epoch {epoch}: Deconvolution of each layer, then DeNet"], tiles)


def _load(file: Path) -> Pixels:
    with Image.open(file) as sprite:
        return np.asarray(sprite.convert("RGB").resize((SIDE, SIDE)))


def main() -> None:
    """Read the command line and write the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.strip", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--probe", required=True, help="the name of its folder below RUN/pictures/denet")
    parser.add_argument("--epoch", type=int, help="[default: the last]")
    parser.add_argument("--out", type=Path, required=True, help="file for the picture")
    options = parser.parse_args()
    try:
        strips = [projection_strip(run, options.probe, options.epoch) for run in options.runs]
    except (ValueError, FileNotFoundError) as problem:
        parser.error(str(problem))
    stack_vertically(strips).save(options.out)


if __name__ == "__main__":
    main()
