"""A run's folder as a training leaves it, made without one: each map has a grey level of its own, to be recognised by."""

import csv
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

SIDE, MAPS, COLUMNS = 4, 20, 10
LAYERS = ("conv1", "conv2")
PROBES = ("Faces-image_0001", "a-b")


def map_level(layer: int, epoch: int, unit: int) -> int:
    """The grey level of a map (from 1) in a made run; the last maps are the strongest."""
    return 128 + 3 * unit + 12 * layer + epoch


def make_run(
    folder: Path,
    epochs: int = 4,
    looked_at: Sequence[int] = (2, 4),
    classes: Sequence[str] = ("Faces", "lotus"),
    wrong: Sequence[int] = (1,),
    images: int = 12,
    layers: Sequence[str] = LAYERS,
    probes: Sequence[str] = PROBES,
    model: str = "alexnet",
    diverged: bool = False,
    seed: int = 1,
    split: int = 1,
    lr: float = 0.1,
) -> Path:
    """Make a run whose test image ``wrong[k]`` is predicted as another class. Returns its folder.

    Each ``split`` has test images of its own, and four training images for each of them.
    """
    folder.mkdir(parents=True)
    settings = {
        "model": {"name": model}, "data": {"name": "caltech101", "train_sizes": [112, 192], "cutmix": 0.5, "seed": split},
        "optim": {"lr": lr}, "trainer": {"max_epochs": epochs}, "seed": seed, "name": folder.name,
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    with (folder / "metrics.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", "train/loss", "test/loss", "test/accuracy", "val/accuracy", "detail/conv1"])
        writer.writerows(
            [[e, 3 / e, 4 / e, e / 10, 0.5 - abs(e - 3) / 10, 0.1 * e if e in looked_at else ""] for e in range(1, epochs + 1)]
        )
    (folder / "summary.json").write_text(json.dumps({"diverged": diverged, "final/test/accuracy": 1 - len(wrong) / images}))
    _write_predictions(folder, classes, wrong, images, split)
    (folder / "split").mkdir()
    (folder / "split/train.txt").write_text("".join(f"{number}.jpg\n" for number in range(4 * images)))
    pictures = folder / "pictures"
    (pictures / "probes").mkdir(parents=True)
    entries = [{"place": place, "name": place, "class": classes[0], "part": "test"} for place in probes]
    (pictures / "probes/index.json").write_text(json.dumps(entries))
    for place in probes:
        _save(pictures / f"probes/{place}.webp", np.full((192, 192, 3), 90, np.uint8))
    _write_index(
        pictures / "deconvolution",
        looked_at,
        lambda e: [
            _deconvolution(pictures, e, probe, number, name) for probe, (number, name) in product(probes, enumerate(layers))
        ],
    )
    _write_index(
        pictures / "denet",
        looked_at,
        lambda e: [_plain(pictures / "denet", e, p, ("denet-true-class", "deconvolution-of-conv2")) for p in probes],
    )
    filters = {"filters": {"of": 4, "columns": 12, "height": 3, "width": 3}, "dead": []}
    names = ("one-scale", "own-scales")
    _write_index(pictures / "filters", looked_at, lambda e: [_plain(pictures / "filters", e, "conv1", names) | filters])
    top = [{"map": 3, "values": [9.0, 8.0], "images": ["x.jpg", "y.jpg"]}]
    names = ("map-3-projections", "map-3-patches")
    _write_index(
        pictures / "top_activations", looked_at,
        lambda e: [_plain(pictures / "top_activations", e, layer, names) | {"maps": top} for layer in layers],
    )  # fmt: skip
    return folder


def _write_predictions(folder: Path, classes: Sequence[str], wrong: Sequence[int], images: int, split: int) -> None:
    (folder / "mistakes").mkdir()
    with (folder / "predictions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "group", "true", "predicted", "confidence", "probability_of_true"])
        for row in range(images):
            true = row % len(classes)
            predicted = (true + 1) % len(classes) if row in wrong else true
            file = f"{classes[true]}/{row + images * (split - 1)}.jpg"
            writer.writerow([file, file, classes[true], classes[predicted], 0.9, 0.1 if row in wrong else 0.9])
            if row in wrong:
                _save(folder / f"mistakes/{row + 1:05d}.webp", np.full((96, 96, 3), 10 * row % 256, np.uint8))


def _write_index(folder: Path, epochs: Sequence[int], entries: Any) -> None:
    index = {str(epoch): entries(epoch) for epoch in epochs}
    folder.mkdir(exist_ok=True)
    (folder / "index.json").write_text(json.dumps(index))


def _deconvolution(pictures: Path, epoch: int, probe: str, number: int, layer: str) -> dict[str, Any]:
    entry = _plain(pictures / "deconvolution", epoch, f"{probe}/{layer}", ("maps", "projection"))
    levels = [map_level(number, epoch, unit) for unit in range(1, MAPS + 1)]
    cells = np.array(levels, np.uint8).reshape(MAPS // COLUMNS, COLUMNS)
    _save(pictures / "deconvolution" / entry["sprites"]["maps"], cells.repeat(SIDE, 0).repeat(SIDE, 1))
    facts = {"first": 1, "shown": MAPS, "of": MAPS, "columns": COLUMNS, "side": SIDE}
    return entry | {"maps": facts, "dead": [], "silent": [20], "ranges": {"maps": 2.0, "projection": 1.0}}


def _plain(folder: Path, epoch: int, place: str, names: Sequence[str]) -> dict[str, Any]:
    sprites = {name: f"{place}/sprites/epoch-{epoch:03d}-{name}.webp" for name in names}
    for number, (name, file) in enumerate(sprites.items()):
        if name != "maps":
            _save(folder / file, np.full((48, 48, 3), 40 + 5 * epoch + 60 * number, np.uint8))
    return {"place": place, "sprites": sprites, "caption": f"{place}\nof epoch {epoch}", "ranges": {}}


def _save(file: Path, pixels: NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, lossless=True)
