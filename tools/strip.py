"""One picture from the runs' sprites: a row for each run, from the image's conv1 to its DeNet.

python -m tools.strip runs/alexnet-caltech101-seed1 runs/zfnet-caltech101-seed1 --probe Faces-image_0327 --out strip.png
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from viz_callbacks.drawing.layout import stack_vertically
from viz_callbacks.drawing.sheets import row_sheet

SIDE = 224


def strip(run: Path, probe: str, epoch: int | None) -> Image.Image:
    """The projections of all layers and the two DeNets of one probe, at the last epoch or the one given."""
    tiles = []
    for kind, sprites in (("deconvolution", {"projection"}), ("denet", {"denet-true-class", "denet-predicted-class"})):
        folder = run / "pictures" / kind
        index = json.loads((folder / "index.json").read_text())
        at = epoch or max(map(int, index))
        for entry in index[str(at)]:
            if entry["place"].split("/")[0] == probe:
                for name, file in entry["sprites"].items():
                    if name in sprites:
                        picture = Image.open(folder / file).convert("RGB").resize((SIDE, SIDE))
                        tiles.append((entry["place"].partition("/")[2] or name.replace("-", " "), np.asarray(picture)))
    return row_sheet([f"{run.name}, {probe}, epoch {at}: Deconvolution of each layer, then DeNet"], tiles)


def main() -> None:
    """Read the command line and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--probe", required=True)
    parser.add_argument("--epoch", type=int)
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    stack_vertically([strip(run, words.probe, words.epoch) for run in words.runs]).save(words.out)


if __name__ == "__main__":
    main()
