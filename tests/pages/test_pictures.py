"""Which pictures a page holds."""

import base64
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pages.pictures import Sprites, choose_units, collect_pictures, shown_epochs
from pages.run_data import read_run
from tests.pages.made_run import LAYERS, PROBES, SIDE, make_run, map_level
from tests.small_network import small_network
from viz_callbacks.callbacks import DeconvolutionPictures, Probes
from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record


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


def test_maps_that_the_page_enlarges_are_the_networks_own(tmp_path: Path) -> None:
    """From the callback through the sprite on disk to the page, grey level by grey level, and those beyond the sheet's too."""
    images = torch.rand(1, 3, 67, 67, generator=torch.Generator().manual_seed(0))
    network, run = small_network().eval(), make_run(tmp_path / "run", layers=("conv1", "conv2"), probes=("a",))
    shown = (images * 255).to(torch.uint8)
    probes = Probes(["a.jpg"], images, shown, torch.tensor([0]), [f"class {k}" for k in range(8)], [""])
    DeconvolutionPictures(run / "pictures/deconvolution", probes, maps=2).render(network, 4)
    sprites = Sprites(tmp_path / "page.html", inline=True)
    found = collect_pictures(read_run(run), sprites)
    traces = record(network, images)
    for layer, count in (("conv1", 6), ("conv2", 12)):
        entry = found["deconvolution"][f"a/{layer}"][4]
        maps = feature_maps(traces, layer)[0].numpy()
        side, units = maps.shape[-1], found["units"][layer]
        assert len(units) == count, "all maps, as there are no more than twelve"
        pixels = np.asarray(decode(sprites, entry["sprites"]["maps"]).convert("L"))
        white = np.sort(np.abs(maps[:2]), None)[int(np.ceil(0.995 * maps[:2].size)) - 1]
        for unit, place in zip(units, entry["places"], strict=True):
            row, column = divmod(place, entry["columns"])
            tile = pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
            assert np.array_equal(tile, np.round(127.5 * (np.clip(maps[unit - 1] / white, -1, 1) + 1)))


def test_what_is_not_higher_than_shown_keeps_its_bytes(tmp_path: Path) -> None:
    sprites = Sprites(tmp_path / "page.html", inline=True)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 576, 3), dtype=np.uint8)
    for height, kept in ((64, True), (63, False)):
        Image.fromarray(pixels).save(file := tmp_path / f"{height}.webp", lossless=True)
        found = decode(sprites, sprites.add_smaller(file, height))
        assert np.array_equal(np.asarray(found), pixels) == kept
        assert (abs(found.width - 9 * height) <= 1, found.height) == (True, height)
