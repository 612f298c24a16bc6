"""Which pictures a page holds."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from pages.pictures import Sprites, choose_units, collect_pictures, shown_epochs
from pages.run_data import read_run
from tests.pages.made_run import LAYERS, PROBES, SIDE, make_run, map_level


def decode(sprites: Sprites, source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(sprites.contents[int(source[1:])])))


def test_the_strongest_maps_are_shown_and_those_with_patches(tmp_path: Path) -> None:
    units = choose_units(read_run(make_run(tmp_path / "run")))
    assert units == {layer: [3, *range(10, 21)] for layer in LAYERS}


def test_a_cut_sprite_holds_just_the_chosen_maps(tmp_path: Path) -> None:
    sprites = Sprites(tmp_path / "page.html", inline=True)
    found = collect_pictures(read_run(make_run(tmp_path / "run")), sprites)
    for number, layer in enumerate(LAYERS):
        for epoch in (2, 4):
            entry = found["deconvolution"][f"{PROBES[1]}/{layer}"][epoch]
            pixels = np.asarray(decode(sprites, entry["sprites"]["maps"]).convert("L"))
            for unit, place in zip(found["units"][layer], entry["places"], strict=True):
                row, column = divmod(place, entry["columns"])
                tile = pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
                assert np.unique(tile).tolist() == [map_level(number, epoch, unit)]


def test_a_page_beside_the_pictures_names_the_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a run")
    sprites = Sprites(run / "index.html", inline=False)
    entry = collect_pictures(read_run(run), sprites)["deconvolution"][f"{PROBES[0]}/conv1"][4]
    assert sprites.contents == []
    assert (run / entry["sprites"]["maps"]).is_file()
    assert [unit - 1 for unit in (3, *range(10, 21))] == entry["places"]


def test_equal_pictures_are_kept_once(tmp_path: Path) -> None:
    sprites = Sprites(tmp_path, inline=True)
    assert [sprites.add_bytes(b"a"), sprites.add_bytes(b"b"), sprites.add_bytes(b"a")] == ["#0", "#1", "#0"]


def test_many_epochs_are_thinned_evenly() -> None:
    shown = shown_epochs(range(1, 61), 30)
    assert (len(shown), shown[0], shown[-1]) == (30, 1, 60)
    assert set(np.diff(shown)) <= {2, 3}
    assert shown_epochs([5, 1], 30) == [1, 5]
