"""Which of a run's sprites a page shows, and their bytes.

A page of 25 MB can't hold everything. Of many epochs some are shown, evenly spaced (``EPOCHS``), and of each layer 12 maps, the
same ones at all epochs. Sprites of maps are cut down to those and stay lossless where the page enlarges them; projections and
patches are made smaller, and equal pictures are kept once.

A page that is written while the run still trains lies beside its pictures and names the files instead, which costs little.
"""

import base64
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pages.run_data import RunData

EPOCHS = {"deconvolution": 30, "denet": 30, "filters": 15, "top_activations": 3}
PROJECTION = 96  # pixels a side, shown twice as large
PATCH = 64  # pixels a side, as the page shows them
MAPS = 12
COLUMNS = 6
TILE = 48  # pixels a side of a map on the page: smaller ones are enlarged, so they stay without loss
ZERO = 128  # the grey level of 0
DENET = {
    "denet-true-class": "DeNet, true class",
    "denet-true-class-no-biases": "DeNet, true class, no biases",
    "denet-predicted-class": "DeNet, predicted class",
}

Entry = dict[str, Any]
Grey = NDArray[np.uint8]


@dataclass
class Sprites:
    """Sources of pictures for the page.

    Attributes:
        page: the file that will be written.
        inline: put the bytes into the page, else name the files.
        contents: base64 of each picture, in order; its source is ``#0``, ``#1`` and so on.
    """

    page: Path
    inline: bool
    contents: list[str] = field(default_factory=list)
    _known: dict[bytes, str] = field(default_factory=dict)

    def add_file(self, file: Path) -> str:
        """Return the source of a picture on disk; empty where the file is gone."""
        if not file.is_file():
            return ""
        return self.add_bytes(file.read_bytes()) if self.inline else quote(os.path.relpath(file, self.page.parent))

    def add_bytes(self, content: bytes) -> str:
        """Return the source of a picture."""
        if content not in self._known:
            self._known[content] = f"#{len(self.contents)}"
            self.contents.append(base64.b64encode(content).decode())
        return self._known[content]

    def add_smaller(self, file: Path, height: int) -> str:
        """Return the source of a picture, made smaller where it becomes part of the page; empty where it can't be read."""
        if not self.inline or not file.is_file():
            return self.add_file(file)
        stream = io.BytesIO()
        try:
            with Image.open(file) as picture:
                if picture.height <= height:
                    return self.add_file(file)
                picture.thumbnail((picture.width, height), Image.Resampling.LANCZOS)
                picture.save(stream, "webp", quality=60, method=4)
        except OSError:
            return ""
        return self.add_bytes(stream.getvalue())


def shown_epochs(available: Sequence[int], at_most: int) -> list[int]:
    """Return evenly spaced ones of the epochs with pictures, the first and the last among them.

    >>> shown_epochs(range(1, 11), at_most=4)
    [1, 4, 7, 10]
    """
    ordered = sorted(available)
    if len(ordered) <= at_most:
        return ordered
    return [ordered[round(place)] for place in np.linspace(0, len(ordered) - 1, at_most)]


def collect_pictures(run: RunData, sprites: Sprites) -> dict[str, Any]:
    """Return what the page shows of a run: by kind, place and epoch, the sources, ranges and words of each picture."""
    units = choose_units(run)
    return {
        "units": units,
        "probes": {
            each["place"]: sprites.add_file(run.folder / f"pictures/probes/{each['place']}.webp") for each in run.probes
        },
        "deconvolution": _collect(run, "deconvolution", lambda entry: _deconvolution(run, entry, units, sprites)),
        "denet": _collect(run, "denet", lambda entry: _denet(run, entry, sprites)),
        "filters": _collect(run, "filters", lambda entry: _filters(run, entry, sprites)),
        "top_activations": _collect(run, "top_activations", lambda entry: _top_activations(run, entry, sprites)),
    }


def denet_words(runs: Sequence[RunData]) -> dict[str, str]:
    """Return the sprites of DeNet that a run has, with words on each: its index's own (``words``) or those of ``DENET``."""
    entries = [entry for run in runs for places in run.pictures["denet"].values() for entry in places.values()]
    own = {name: words for entry in entries for name, words in entry.get("words", {}).items()}
    known = {name for entry in entries for name in entry["sprites"]}
    return {name: words for name, words in (DENET | own).items() if name in known}


def _collect(run: RunData, kind: str, describe: Callable[[Entry], Entry]) -> dict[str, dict[int, Entry]]:
    found: dict[str, dict[int, Entry]] = {}
    for epoch in shown_epochs(list(run.pictures[kind]), EPOCHS[kind]):
        for place, entry in run.pictures[kind][epoch].items():
            found.setdefault(place, {})[epoch] = describe(entry)
    return found


def choose_units(run: RunData) -> dict[str, list[int]]:
    """Choose 12 maps of each layer (numbers from 1): those with strongest activations shown, then the strongest on the probes.

    Strength is the mean activation over all probes at the last epoch with pictures, as the sprites hold it.
    """
    index = run.pictures["deconvolution"]
    if not index:
        return {}
    strengths: dict[str, list[NDArray[np.float64]]] = {}
    for place, entry in index[max(index)].items():
        tiles = cut_tiles(run.folder / "pictures/deconvolution" / entry["sprites"]["maps"], entry)
        if tiles is not None:
            mean = np.abs(tiles.astype(float) - ZERO).mean((1, 2)) * (entry["ranges"]["maps"] or 0)
            strengths.setdefault(place.split("/")[1], []).append(mean)
    top = run.pictures["top_activations"]
    with_patches = {layer: [each["map"] for each in entry["maps"]] for layer, entry in (top[max(top)].items() if top else ())}
    chosen = {}
    for layer, of_probes in strengths.items():
        strength = np.mean(of_probes, axis=0)
        ranked = [unit for unit in with_patches.get(layer, []) if unit <= len(strength)]
        ranked += [int(unit) + 1 for unit in np.argsort(-strength, kind="stable")]
        chosen[layer] = sorted(list(dict.fromkeys(ranked))[:MAPS])
    return chosen


def cut_tiles(file: Path, entry: Entry) -> Grey | None:
    """Cut a sprite of maps into them, (K, h, w); None where it can't be read."""
    if not file.is_file():
        return None
    try:
        with Image.open(file) as sprite:
            pixels = np.asarray(sprite.convert("L"))
    except OSError:
        return None
    side, columns, shown = entry["maps"]["side"], entry["maps"]["columns"], entry["maps"]["shown"]
    columns = min(columns, pixels.shape[1] // side)
    places = [divmod(unit, columns) for unit in range(shown)]
    return np.stack([pixels[row * side : (row + 1) * side, column * side : (column + 1) * side] for row, column in places])


def _deconvolution(run: RunData, entry: Entry, units: dict[str, list[int]], sprites: Sprites) -> Entry:
    folder = run.folder / "pictures/deconvolution"
    chosen = units.get(entry["place"].split("/")[1], [])  # none where no picture of the layer can be read
    facts = _facts(entry)
    facts["sprites"]["projection"] = sprites.add_smaller(folder / entry["sprites"]["projection"], PROJECTION)
    file, side = folder / entry["sprites"]["maps"], entry["maps"]["side"]
    if not sprites.inline:
        columns, rows = entry["maps"]["columns"], -(-entry["maps"]["shown"] // entry["maps"]["columns"])
        facts["sprites"]["maps"] = sprites.add_file(file)
        facts |= {"columns": columns, "rows": rows, "places": [unit - 1 for unit in chosen], "side": side}
        return facts
    tiles = cut_tiles(file, entry)
    facts |= {"columns": COLUMNS, "rows": -(-len(chosen) // COLUMNS), "places": list(range(len(chosen))), "side": side}
    facts["sprites"]["maps"] = (
        "" if tiles is None or not chosen else sprites.add_bytes(_encode(tiles[[unit - 1 for unit in chosen]], side))
    )
    return facts


def _encode(tiles: Grey, side: int) -> bytes:
    """Lay maps (K, h, w) out in rows of COLUMNS and return them as WebP."""
    rows = -(-len(tiles) // COLUMNS)
    cells = np.full((rows * COLUMNS, *tiles.shape[1:]), ZERO, dtype=np.uint8)
    cells[: len(tiles)] = tiles
    grid = cells.reshape(rows, COLUMNS, *tiles.shape[1:]).swapaxes(1, 2).reshape(rows * tiles.shape[1], -1)
    stream = io.BytesIO()
    Image.fromarray(grid).save(stream, "webp", lossless=side <= TILE, quality=80, method=2)
    return stream.getvalue()


def _denet(run: RunData, entry: Entry, sprites: Sprites) -> Entry:
    facts = _facts(entry)
    folder = run.folder / "pictures/denet"
    words = entry.get("words", DENET)
    names = [name for name in words if name in entry["sprites"]]  # older runs have fewer
    facts["ranges"] = {words[name]: facts["ranges"][words[name]] for name in names if words[name] in facts["ranges"]}
    facts["sprites"] = {name: sprites.add_smaller(folder / entry["sprites"][name], PROJECTION) for name in names}
    return facts


def _filters(run: RunData, entry: Entry, sprites: Sprites) -> Entry:
    facts = _facts(entry)
    for name in ("one-scale", "own-scales"):
        if name in entry["sprites"]:
            facts["sprites"][name] = sprites.add_file(run.folder / "pictures/filters" / entry["sprites"][name])
    return facts | {"filters": entry["filters"], "dead": entry["dead"]}


def _top_activations(run: RunData, entry: Entry, sprites: Sprites) -> Entry:
    facts = _facts(entry)
    names = [f"map-{each['map']}-{what}" for each in entry["maps"] for what in ("projections", "patches")]
    for name in names:
        if name in entry["sprites"]:
            file = run.folder / "pictures/top_activations" / entry["sprites"][name]
            facts["sprites"][name] = sprites.add_smaller(file, PATCH)
    maps = [
        {"map": each["map"], "values": [_rounded(value) for value in each["values"]], "images": each["images"]}
        for each in entry["maps"]
    ]
    return facts | {"maps": maps}


def _facts(entry: Entry) -> Entry:
    lines = entry["caption"].split("\n")
    return {
        "sprites": {},
        "ranges": {name: _rounded(value) for name, value in entry["ranges"].items()},
        "note": lines[1] if len(lines) > 1 else "",
        "silent": entry.get("silent", []),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
