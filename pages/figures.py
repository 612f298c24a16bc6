"""The report's Figures 6 to 13, made from runs, as files under these numbers: curves as SVG and PNG, pictures as PNG.

Pictures are those of the last epoch that has any. Figures 1 to 5 are drawings of the networks and of the method.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pages import charts
from pages.pictures import cut_tiles
from pages.run_data import NETWORKS, RunData

SIDE = 200  # pixels of a projection or an image
TILE = 61  # of a feature map, with the space beside it
SHEET = 10 * TILE  # the 10 x 10 maps of a layer; the three channels below them are as wide together
GAP = 12
LINE = 26

Pixels = NDArray[np.uint8]
Tile = tuple[str, Image.Image]


@dataclass(frozen=True)
class Numbers:
    """The report's figures of one network: its training, and its maps and projections."""

    curves: int
    pictures: int


FIGURES = {"alexnet": Numbers(7, 10), "zfnet": Numbers(8, 11)}


class MissingError(Exception):
    """What a figure needs and no run has."""


def write_figures(runs: Sequence[RunData], folder: Path) -> tuple[list[Path], list[str]]:
    """Write the figures that the runs allow.

    Returns:
        The files, and a sentence on each figure that is lacking.
    """
    folder.mkdir(parents=True, exist_ok=True)
    makers: dict[int, Callable[[], charts.Chart | Image.Image]] = {
        6: lambda: _curves(_find(runs, lambda run: run.diverged, "a run that diverged")),
        9: lambda: _input_image(runs),
        12: lambda: _denet(runs),
        13: lambda: _denet_beside_deconvolution(runs),
    }
    for network, numbers in FIGURES.items():
        makers[numbers.curves] = partial(_trained_curves, runs, network)
        makers[numbers.pictures] = partial(_maps_and_projections, runs, network)
    files, lacking = list[Path](), list[str]()
    for number in sorted(makers):
        name = f"figure-{number:02d}"
        try:
            made = makers[number]()
        except MissingError as what:
            lacking.append(f"{name}: {what}")
            continue
        if isinstance(made, Image.Image):
            made.save(folder / f"{name}.png")
            files.append(folder / f"{name}.png")
        else:
            files += charts.save_charts({name: made}, folder)
    return files, lacking


def _find(runs: Iterable[RunData], fits: Callable[[RunData], bool], what: str) -> RunData:
    for run in runs:
        if fits(run):
            return run
    raise MissingError(f"it needs {what}")


def _find_trained(runs: Sequence[RunData], network: str) -> RunData:
    return _find(
        runs, lambda run: run.settings["model"]["name"] == network and not run.diverged, f"a training of {NETWORKS[network]}"
    )


def _trained_curves(runs: Sequence[RunData], network: str) -> charts.Chart:
    return _curves(_find_trained(runs, network))


def _curves(run: RunData) -> charts.Chart:
    """Draw accuracy and loss beside each other."""
    found = charts.epoch_charts([run], [run.network])
    both = [found[name] for name in ("accuracy", "loss") if name in found]
    if not both:
        raise MissingError(f"{run.name} has no figures of its epochs")
    return charts.beside(both)


def _input_image(runs: Sequence[RunData]) -> Image.Image:
    for run in runs:
        for probe in run.probes:
            if (image := _probe_image(run, probe["place"])) is not None:
                return _grid([[(probe["name"], image)]])
    raise MissingError("no run kept its probes")


def _maps_and_projections(runs: Sequence[RunData], network: str) -> Image.Image:
    """Lay out the layers beside each other: maps above, below them the three channels of the projection."""
    run = _find(
        runs, lambda run: run.settings["model"]["name"] == network and bool(run.pictures["deconvolution"]),
        f"a run of {NETWORKS[network]} with maps and projections",
    )  # fmt: skip
    index = run.pictures["deconvolution"]
    epoch = max(index)
    first = run.probes[0]["place"]
    sheets = []
    for place, entry in index[epoch].items():
        probe, layer = place.split("/")
        maps = cut_tiles(run.folder / "pictures/deconvolution" / entry["sprites"]["maps"], entry)
        projection = _open(run, "deconvolution", entry["sprites"]["projection"])
        if probe != first or maps is None or projection is None:
            continue
        sheet = Image.new("RGB", (SHEET, SHEET + GAP + SIDE), "white")
        for number, each in enumerate(maps[:100]):
            tile = Image.fromarray(each).resize((TILE - 3, TILE - 3), Image.Resampling.NEAREST)
            sheet.paste(tile, (number % 10 * TILE, number // 10 * TILE))
        for number, channel in enumerate(projection.split()):
            sheet.paste(_square(channel), (number * (SIDE + 5), SHEET + GAP))
        sheets.append((f"{layer}: {min(100, len(maps))} of {entry['maps']['of']} maps; red, green, blue", sheet))
    if not sheets:
        raise MissingError(f"the pictures of {run.name} are gone")
    return _grid([sheets], f"{run.title}, {run.probes[0]['name']}, epoch {epoch}")


def _denet(runs: Sequence[RunData]) -> Image.Image:
    """Show for each probe the image and DeNet of each run."""
    return _by_probe(runs, ("denet-true-class",), "DeNet of the true class")


def _denet_beside_deconvolution(runs: Sequence[RunData]) -> Image.Image:
    """Show for each probe the image and, of each run, Deconvolution of its last layer and DeNet."""
    return _by_probe(runs, ("deconvolution", "denet-true-class"), "Deconvolution of the last layer, DeNet")


def _by_probe(runs: Sequence[RunData], sprites: Sequence[str], title: str) -> Image.Image:
    probes = {probe["place"]: probe for run in runs for probe in run.probes}
    rows = []
    for place, probe in probes.items():
        tiles = [tile for run in runs for tile in _denet_tiles(run, place, sprites)]
        if tiles:
            images = [image for run in runs if (image := _probe_image(run, place)) is not None]
            rows.append([*((probe["name"], image) for image in images[:1]), *tiles])
    if not rows:
        raise MissingError("it needs a run with DeNet")
    return _grid(rows, title)


def _denet_tiles(run: RunData, place: str, sprites: Sequence[str]) -> list[Tile]:
    index = run.pictures["denet"]
    entry = index[max(index)].get(place) if index else None
    if entry is None:
        return []
    tiles = []
    for wanted in sprites:
        name = next((name for name in entry["sprites"] if name.startswith(wanted)), None)  # deconvolution-of-LAYER
        picture = _open(run, "denet", entry["sprites"].get(name))
        if name is not None and picture is not None:
            words = "DeNet" if wanted.startswith("denet") else "Deconvolution"
            tiles.append((f"{run.network}: {words}", picture))
    return tiles


def _probe_image(run: RunData, place: str) -> Image.Image | None:
    return _open(run, "probes", f"{place}.webp")


def _open(run: RunData, kind: str, file: str | None) -> Image.Image | None:
    path = run.folder / "pictures" / kind / (file or "")
    return Image.open(path).convert("RGB") if path.is_file() else None


def _square(picture: Image.Image) -> Image.Image:
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _grid(rows: Sequence[Sequence[Tile]], title: str = "") -> Image.Image:
    """Lay pictures out in rows, with a line of words above each."""
    font = ImageFont.load_default(14)
    sized = [[(words, _square(each) if each.width < SHEET else each) for words, each in row] for row in rows]
    width = max(sum(each.width + GAP for _, each in row) for row in sized) + GAP
    heights = [max(each.height for _, each in row) + LINE + GAP for row in sized]
    top = LINE if title else 0
    page = Image.new("RGB", (width, sum(heights) + top + GAP), "white")
    draw = ImageDraw.Draw(page)
    draw.text((GAP, 6), title, "black", font)
    y = top
    for row, height in zip(sized, heights, strict=True):
        x = GAP
        for words, each in row:
            draw.text((x, y + 6), _shortened(words, each.width, font), "black", font)
            page.paste(each, (x, y + LINE))
            x += each.width + GAP
        y += height
    return page


def _shortened(words: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    while words and font.getlength(words) > width:
        words = words[:-1]
    return words
