"""What people do on the page, and that the pictures they then see are those of the run's folder."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from pages.build import page_charts, write_page
from pages.render import HERE
from pages.run_data import RunData, read_run
from tests.pages.browser import Shown
from tests.pages.made_run import LAYERS, PROBES, make_run, map_level

pytestmark = [pytest.mark.slow]
SOURCES = """[...document.querySelectorAll('.cell[data-run] img[data-sprite]')].map(image => {
    const { run, kind, layer } = image.closest('.cell').dataset;
    return [Number(run), kind, layer ?? '', image.dataset.sprite, image.getAttribute('src') ?? ''];
})"""
STRIPS = """[...document.querySelectorAll('#top .cell')].map(cell =>
    [...cell.querySelectorAll('.strips img')].map(image => image.getAttribute('src')))"""
TILE = "tile => [tile.style.backgroundImage, tile.style.backgroundPosition, tile.style.backgroundSize]"


@pytest.fixture
def runs(tmp_path: Path) -> list[RunData]:
    """One of each network, looked at after other epochs."""
    folders = [make_run(tmp_path / "a"), make_run(tmp_path / "z", model="zfnet", looked_at=(1, 2, 4), wrong=(1, 4))]
    return [read_run(folder) for folder in folders]


@pytest.fixture
def both(runs: list[RunData], tmp_path: Path) -> Path:
    write_page(runs, file := tmp_path / "both.html")
    return file


def content(source: str) -> bytes:
    return base64.b64decode(source.partition("base64,")[2].rstrip('")'))


def test_at_every_epoch_the_pictures_are_those_of_the_folder(browser: Browser, runs: list[RunData], both: Path) -> None:
    shown = Shown(browser, both)
    page = shown.page
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    compared = 0
    for epoch in (1, 2, 3, 4):
        page.wait_for_function("[...document.images].every(image => !image.dataset.shown || image.getAttribute('src'))")
        for number, kind, layer, sprite, source in page.evaluate(SOURCES):
            place = {"deconvolution": f"{PROBES[0]}/{layer}", "denet": PROBES[0], "filters": LAYERS[0]}[kind]
            entry = runs[number].pictures[kind].get(epoch, {}).get(place)
            if entry is None:
                assert source == ""
            else:
                kept = runs[number].folder / "pictures" / kind / entry["sprites"][sprite]
                assert content(source) == kept.read_bytes()
                compared += 1
        for run, strips in zip(runs, page.evaluate(STRIPS), strict=True):
            entry = run.pictures["top_activations"].get(epoch, {}).get(LAYERS[0])
            names = ("map-3-projections", "map-3-patches") if entry else ()
            kept = [run.folder / "pictures/top_activations" / entry["sprites"][name] for name in names] if entry else []
            assert [content(source) for source in strips] == [file.read_bytes() for file in kept]
        for number, layer in ((number, layer) for number in range(2) for layer in LAYERS):
            tile = page.get_by_label(f"map 12 of {layer}, {('AlexNet', 'ZFNet')[number]}")
            image, position, size = tile.evaluate(TILE)
            if epoch not in runs[number].pictures["deconvolution"]:
                assert image == "none"
                continue
            pixels = np.asarray(Image.open(io.BytesIO(content(image))).convert("L"))
            (across, down), (columns, rows) = (
                [float(each.rstrip("%")) / 100 for each in words.split()] for words in (position, size)
            )
            x, y = round(across * (columns - 1)), round(down * (rows - 1))
            side = pixels.shape[1] // round(columns)
            assert pixels[y * side + 1, x * side + 1] == map_level(LAYERS.index(layer), epoch, 12)
        page.keyboard.press("ArrowRight")
    assert compared == 5 * (2 * 1 + 1 + 2), "two layers, DeNet and twice the filters, at two and three epochs"
    assert shown.faults == []
    shown.close()


def test_the_mouse_moves_the_slider_and_play_turns_over_the_epochs_until_it_is_paused(browser: Browser, both: Path) -> None:
    shown = Shown(browser, both)
    page = shown.page
    epoch = page.locator("#epoch")
    box = epoch.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert (epoch.input_value(), "#e=1&" in page.url) == ("1", True)
    play = page.get_by_role("button", name="Play")
    play.click()
    page.wait_for_function("document.getElementById('epoch').value >= 3")
    page.get_by_role("button", name="Pause").click()
    paused = epoch.input_value()
    page.wait_for_timeout(1500)
    assert (epoch.input_value(), play.count()) == (paused, 1)
    shown.close()


def test_keys_reach_the_slider_before_the_pictures_that_it_moves(browser: Browser, both: Path) -> None:
    shown = Shown(browser, both)
    page = shown.page
    reached: list[str] = []
    while "epoch" not in reached and len(reached) < 10:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert "epoch" in reached
    assert page.evaluate(
        "Boolean(document.querySelector('#epoch').compareDocumentPosition(document.querySelector('main')) & 4)"
    )
    shown.close()


@pytest.mark.parametrize("paused", [False, True])
def test_a_page_of_a_run_that_trains_reloads_itself_unless_it_is_told_not_to(
    browser: Browser, runs: list[RunData], paused: bool
) -> None:
    write_page(runs[:1], file := runs[0].folder / "index.html", inline=False, live=True)
    shown = Shown(browser, file)
    page = shown.page
    page.clock.install()
    page.reload()
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    if paused:
        page.locator("#reload").uncheck()
        page.clock.fast_forward(61_000)
        page.wait_for_timeout(3000)
        assert loads == []
    else:
        with page.expect_event("load"):
            page.clock.fast_forward(61_000)
    shown.close()


def test_each_figure_of_the_report_is_pointed_to(browser: Browser, runs: list[RunData], tmp_path: Path) -> None:
    """Of two networks and a training that diverged all eight; of one network those that it has."""
    bad = read_run(make_run(tmp_path / "bad", diverged=True, lr=9))
    write_page([*runs, bad], file := tmp_path / "all.html")
    shown = Shown(browser, file)
    page = shown.page
    links = page.locator("#figures a")
    assert links.all_text_contents() == [f"Figure {number} of these runs" for number in range(6, 14)]
    parts = ("curves", "curves", "curves", "layers", "layer-0", "layer-0", "denet", "layer-1")
    for number, part in enumerate(parts):
        links.nth(number).click()
        page.wait_for_function(
            "part => Math.abs(document.getElementById(part).getBoundingClientRect().top) < innerHeight / 2", arg=part
        )
        assert page.locator(f"#{part} .cell.empty").count() == 0, "with pictures"
    assert shown.faults == []
    shown.close()
    write_page(runs[:1], file)
    alone = Shown(browser, file)
    rows = alone.page.locator("#figures tbody tr").all_text_contents()
    assert [" ".join(row.split())[:1] for row in rows] == ["6", "7", "8", "9", "1", "1", "1", "1"]
    assert alone.page.locator("#figures td", has_text="it takes").all_text_contents() == [
        "it takes a run that diverged", "it takes a run of ZFNet", "it takes a run of ZFNet with pictures",
    ]  # fmt: skip
    alone.close()


def test_filters_are_told_apart_by_lines_between_them(browser: Browser, both: Path) -> None:
    shown = Shown(browser, both)
    page = shown.page
    page.locator("#filters h2").scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('#filters img')].every(image => image.naturalWidth)")
    with Image.open(io.BytesIO(page.locator("#filters img").first.screenshot())) as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    row = pixels[pixels.shape[0] // 2]
    lines = (np.diff((row > 200).astype(int)) == 1).sum() + int(row[0] > 200)
    assert lines == 12, "the picture is dark, and what is behind it light: a line after each of twelve columns"
    shown.close()


def test_a_silent_map_is_said_to_be_one(browser: Browser, both: Path) -> None:
    shown = Shown(browser, both, "#e=4&p=0&l=conv1&u=20")
    assert shown.page.locator("#map-note").text_content() == "of epoch 4. This map is silent here."
    shown.close()


def test_tables_of_two_networks_have_their_names(browser: Browser, both: Path) -> None:
    shown = Shown(browser, both)
    page = shown.page
    page.locator("summary", has_text="Show 2 classes").click()
    heads = page.locator("#mistakes table th").all_text_contents()
    assert heads == ["class", "images", "AlexNet", "ZFNet", "difference", "p"]
    wrong = page.locator("#mistakes > details:has(> .gallery)").nth(2).locator("li")
    assert [each.text_content() for each in wrong.all()] == ["\nlotus AlexNet: Faces, 90%; ZFNet: Faces, 90%"]
    shown.close()


def test_a_layer_has_one_colour_in_all_charts_and_a_legend_names_what_is_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.csv").write_text("epoch,train/loss,dead/conv1,dead/conv2,inside/chance,inside/conv2\n1,2,3,4,5,6\n")
    charts = {name: chart.to_dict() for name, chart in page_charts([read_run(run)], ["run"]).items()}
    colours = [charts[f"metric-{name}"]["layer"][0]["encoding"]["color"] for name in ("dead", "inside")]
    assert [each["scale"]["domain"] for each in colours] == [["conv1", "conv2", "chance"]] * 2
    assert [each["legend"]["values"] for each in colours] == [["conv1", "conv2"], ["conv2", "chance"]]
    assert charts["loss"]["layer"][0]["encoding"]["strokeDash"]["scale"]["domain"] == ["train"]
    assert charts["confusion-0"]["view"]["fill"] == "white", "in the dark too"


def test_a_confusion_matrix_is_zoomed_into_only_with_shift_so_that_the_wheel_still_moves_the_page(
    browser: Browser, both: Path
) -> None:
    shown = Shown(browser, both)
    page = shown.page
    details = page.locator("#mistakes details:has([data-chart^='confusion-'])").first
    details.locator("summary").click()
    chart = details.locator("svg")
    chart.scroll_into_view_if_needed()
    box = chart.locator(".background").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
    whole = chart.inner_html()
    page.mouse.wheel(0, 5)
    page.wait_for_timeout(300)
    assert chart.inner_html() == whole
    page.keyboard.down("Shift")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Shift")
    page.wait_for_timeout(300)
    assert chart.inner_html() != whole
    shown.close()


def test_the_script_stays_one_short_file() -> None:
    assert len((HERE / "page.js").read_text().splitlines()) <= 400
