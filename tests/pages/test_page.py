"""The page in a real browser, opened from disk without a network."""

import base64
import itertools
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

import page as program
from configs import DataSettings
from datamodules.datasets import MIXED_UNTIL, ImageSet, TrainingImages
from pages.build import page_charts, write_page
from pages.charts import stages_of
from pages.run_data import read_run
from tests.pages.browser import Shown
from tests.pages.made_run import PROBES, make_run

pytestmark = [pytest.mark.slow]
BAD = "<img src=x onerror=\"document.title='bad'\"> a\"b </script><script>document.title='bad'</script>"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs with hostile names, alone in a folder."""
    folder = tmp_path_factory.mktemp("runs")
    classes = (BAD, "lotus")
    one = make_run(folder / "alexnet", classes=classes, wrong=(1, 2))
    two = make_run(folder / BAD.replace("/", "|"), classes=classes, wrong=(2, 5), looked_at=(1, 4))
    file = tmp_path_factory.mktemp("mail") / "page.html"
    write_page([read_run(one), read_run(two)], file)
    shutil.rmtree(folder)
    return file


def test_the_slider_moves_every_picture_and_the_link(browser: Browser, comparison: Path) -> None:
    shown = Shown(browser, comparison)
    page = shown.page
    first = page.locator(".cell[data-run='0'][data-kind='deconvolution'][data-layer='conv1']")
    second = page.locator(".cell[data-run='1'][data-kind='deconvolution'][data-layer='conv1']")
    page.wait_for_function("document.querySelector('.cell img[data-sprite=projection]').naturalWidth > 0")
    at_four = first.locator("img").get_attribute("src")
    page.locator("#epoch").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#epoch").input_value() == "3", "one arrow is one epoch"
    assert "of epoch" not in (first.locator(".note").text_content() or "")
    assert first.locator(".absent").text_content() == "No picture of epoch 3; the nearest are of 2 and 4."
    assert first.locator("img").get_attribute("src") is None, "never another epoch's picture"
    assert "epoch 3 of 4" in (page.locator("#epoch").get_attribute("aria-valuetext") or "")
    first.locator(".absent a").first.click()
    page.wait_for_function(
        "was => { const src = document.querySelector('.cell img[data-sprite=projection]').src; return src && src !== was }",
        arg=at_four,
    )
    assert first.locator(".note").text_content() == "of epoch 2"
    assert second.locator(".absent").text_content() == "No picture of epoch 2; the nearest are of 1 and 4."
    assert page.url.endswith("#e=2&p=0&l=conv1")
    assert (shown.faults, len(shown.requests)) == ([], 1), "nothing is loaded but the page"
    shown.close()


def test_a_map_opens_large_by_click_and_by_link_and_the_arrows_turn_over_its_neighbours(
    browser: Browser, comparison: Path
) -> None:
    shown = Shown(browser, comparison)
    page = shown.page
    page.get_by_label("map 3 of conv2, AlexNet (alexnet)").click()
    assert page.locator("dialog").is_visible()
    assert page.locator("#map-title").text_content() == "AlexNet (alexnet): map 3 of conv2, Faces-image_0001, epoch 4"
    assert page.locator("#map-history").text_content() == "24", "the epochs that have pictures"
    assert page.locator("#map-history [aria-current]").get_attribute("aria-label") == "epoch 4"
    page.get_by_label("epoch 2", exact=True).click()
    assert page.evaluate("document.activeElement.dataset.epoch") == "2", "so that the next key goes on from there"
    page.get_by_label("epoch 4", exact=True).click()
    assert page.locator("#map-patches img").count() == 2
    page.keyboard.press("ArrowRight")
    assert page.url.endswith("l=conv2&u=10&r=0")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    linked = Shown(browser, comparison, "#e=2&p=1&l=conv2&u=12&r=0")
    assert linked.page.locator("#map-title").text_content() == "AlexNet (alexnet): map 12 of conv2, a-b, epoch 2"
    assert (linked.page.locator("#map-patches").text_content() or "").startswith("The run kept none of this map")
    assert shown.faults == linked.faults == []
    linked.close()
    shown.close()


def test_arrow_keys_turn_over_the_epochs_and_the_best_ones_are_marked(browser: Browser, comparison: Path) -> None:
    shown = Shown(browser, comparison)
    page = shown.page
    page.locator("h1").click()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#epoch").input_value() == "2"
    marks = [each.get_attribute("value") for each in page.locator("#best-epochs option").all()]
    assert marks == ["3", "3"], "of both runs"
    page.locator("header a", has_text="epoch 3").first.click()
    page.wait_for_function("document.getElementById('epoch').value === '3'")
    assert "best of AlexNet (alexnet)" in (page.locator("#epoch").get_attribute("aria-valuetext") or "")
    shown.close()


@pytest.mark.parametrize("width", [1200, 390])
def test_words_on_the_stages_of_a_recipe_never_touch(browser: Browser, tmp_path: Path, width: int) -> None:
    run = make_run(tmp_path / "run", epochs=64, looked_at=(2,))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"]["train_sizes"] = [96, 112, 128, 160]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    assert program.main([str(run)]) == 0
    shown = Shown(browser, run / "index.html", width=width)
    page = shown.page
    for name in ("loss", "accuracy"):
        page.locator(f"[data-chart={name}]").scroll_into_view_if_needed()
        page.wait_for_selector(f"[data-chart={name}] svg")
        texts = page.locator(f"[data-chart={name}] .mark-text.role-mark text")
        assert sorted(texts.all_text_contents()) == ["112 px", "128 px", "160 px", "96 px", "no CutMix"]
        boxes = [box for each in texts.all() if (box := each.bounding_box())]
        for one, other in itertools.combinations(boxes, 2):
            beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
            below = one["y"] + one["height"] <= other["y"] + 3 or other["y"] + other["height"] <= one["y"] + 3
            assert beside or below, "a line of text is higher than its letters, by three pixels at most"
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    shown.close()


@pytest.mark.parametrize(("epochs", "sizes"), [(64, [96, 112, 128, 160]), (10, [96, 112, 128]), (16, list(range(64, 192, 16)))])
def test_stages_begin_where_the_training_changes(tmp_path: Path, epochs: int, sizes: list[int]) -> None:
    settings = DataSettings(cutmix=0.5, train_sizes=sizes)
    run = read_run(make_run(tmp_path / "run", epochs=epochs))
    run.settings["data"]["train_sizes"] = sizes
    taught = TrainingImages(ImageSet.__new__(ImageSet), sizes, epochs, settings, seed=0)
    words, expected = {each["at"]: each["words"] for each in stages_of(run)}, dict[int, str]()
    for epoch in range(epochs):
        if epoch == 0 or taught.size(epoch) != taught.size(epoch - 1):
            expected[epoch + 1] = f"{taught.size(epoch)} px"
    ended = next(epoch for epoch in range(epochs) if epoch >= MIXED_UNTIL * epochs) + 1
    expected[ended] = f"{expected[ended]}, no CutMix" if ended in expected else "no CutMix"
    assert words == expected


@pytest.mark.parametrize("width", [1200, 390])
def test_pictures_that_came_while_their_section_was_out_of_sight_are_seen_there(
    browser: Browser, comparison: Path, width: int
) -> None:
    shown = Shown(browser, comparison, width=width)
    page = shown.page
    page.wait_for_function("[...document.querySelectorAll('#filters img')].every(image => image.naturalWidth)")
    page.locator("#filters h2").scroll_into_view_if_needed()
    pictures = page.locator("#filters img").all()
    boxes = [picture.bounding_box() or {"width": 0, "height": 0} for picture in pictures]
    assert len(boxes) == 4
    assert all(min(box["width"], box["height"]) > 100 for box in boxes), "enlarged from 48 pixels"
    shown.close()


def test_hostile_names_are_words(browser: Browser, comparison: Path) -> None:
    shown = Shown(browser, comparison)
    assert shown.page.title().startswith("AlexNet (alexnet), AlexNet (<img src=x")
    assert "</script>" in (shown.page.locator("#mistakes").text_content() or ""), "the name of the class is shown as it is"
    assert shown.faults == []
    shown.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("link", ["", "#e=4&p=0&l=conv1&u=3"])
def test_everybody_can_use_it(browser: Browser, comparison: Path, dark: bool, width: int, link: str) -> None:
    shown = Shown(browser, comparison, link, width, dark)
    shown.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # opens what is closed and draws all charts
    shown.page.wait_for_function("[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('svg'))")
    found = Axe().run(shown.page)
    assert found.violations_count == 0, found.generate_report()
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
    shown.close()


def test_only_one_right_as_images(browser: Browser, comparison: Path) -> None:
    """Images 1 and 2 are wrong in one run, 2 and 5 in the other: one each way, one in both."""
    shown = Shown(browser, comparison)
    galleries = shown.page.locator("#mistakes > details:has(> .gallery)")
    assert [galleries.nth(k).locator("li").count() for k in range(3)] == [1, 1, 1]
    assert galleries.first.locator("img").get_attribute("alt") == "lotus/5.jpg"
    assert "not decided" in (shown.page.locator(".verdict").text_content() or "")
    shown.close()


def test_nothing_comes_from_elsewhere(comparison: Path) -> None:
    text = re.sub(r"<script>\(function.*?</script>", "", comparison.read_text(), flags=re.DOTALL)  # Vega names its schemas
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//|url\(["']?https?:|@import""", text)
    assert all(base64.b64decode(found)[8:12] == b"WEBP" for found in re.findall(r'id="p\d+">([^<]+)<', text))


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("page.py: ")


def test_charts_as_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert program.main([str(run), "--charts", str(tmp_path / "charts")]) == 0
    names = {file.name for file in (tmp_path / "charts").iterdir()}
    assert {"loss.svg", "loss.png", "accuracy.svg", "calibration.png", "metric-detail.svg"} <= names


@pytest.mark.parametrize("width", [1200, 390])
def test_all_layers_and_denet_of_one_run_are_seen_at_one_glance(browser: Browser, tmp_path: Path, width: int) -> None:
    run = make_run(tmp_path / "run", layers=("conv1", "conv2", "conv3", "conv4", "conv5"))
    assert program.main([str(run)]) == 0
    shown = Shown(browser, run / "index.html", width=width)
    page = shown.page
    page.locator(".glance").scroll_into_view_if_needed()
    boxes = [box for box in (each.bounding_box() for each in page.locator(".glance .layer").all()) if box]
    assert page.locator(".glance h3").all_text_contents() == ["The image", "conv1", "conv2", "conv3", "conv4", "conv5", "DeNet"]
    assert all(box["x"] + box["width"] <= width for box in boxes)
    if width == 1200:
        assert max(box["y"] + box["height"] for box in boxes) - boxes[0]["y"] <= 840, "the window less the slider"
    shown_image, kept = (
        page.locator("#image").get_attribute("src") or "",
        (run / f"pictures/probes/{PROBES[0]}.webp").read_bytes(),
    )
    assert base64.b64decode(shown_image.partition(",")[2]) == kept
    assert shown.faults == []
    shown.close()


def test_tables_are_sorted_by_their_heads(browser: Browser, comparison: Path) -> None:
    shown = Shown(browser, comparison)
    page = shown.page
    page.locator("#curves summary").click()
    table, head = page.locator("#curves table"), page.locator("#curves th", has_text="epoch")
    for order, direction in ((["1", "1", "2", "2"], "ascending"), (["4", "4", "3", "3"], "descending")):
        head.locator("button").click()
        assert table.locator("tbody td:nth-child(2)").all_text_contents()[:4] == order
        assert head.get_attribute("aria-sort") == direction
    shown.close()


def test_the_difference_of_two_confusion_matrices(tmp_path: Path) -> None:
    """The first network has one lotus wrong, the second one face, of six images each."""
    runs = [read_run(make_run(tmp_path / f"{number}", wrong=(number,))) for number in (1, 4)]
    chart = page_charts(runs, ["a", "b"])["confusion-difference"].to_dict()
    found = {
        (each["true"], each["predicted"]): (each["images"], each["share"]) for each in chart["datasets"][chart["data"]["name"]]
    }
    assert found == {
        ("lotus", "lotus"): (1, 0.1667), ("lotus", "Faces"): (-1, -0.1667),
        ("Faces", "Faces"): (-1, -0.1667), ("Faces", "lotus"): (1, 0.1667),
    }  # fmt: skip


def test_each_class_of_one_run_with_its_interval(browser: Browser, tmp_path: Path) -> None:
    """Of six images of a class one is wrong: 83 %, by Wilson 44 to 97 %."""
    run = make_run(tmp_path / "run")
    assert program.main([str(run)]) == 0
    shown = Shown(browser, run / "index.html")
    page = shown.page
    page.locator("summary", has_text="Show 2 classes").click()
    rows = page.locator("#mistakes table tbody tr")
    assert [row.locator("td").all_text_contents() for row in rows.all()] == [
        ["lotus", "6", "83 %", "44 %", "97 %"],
        ["Faces", "6", "100 %", "61 %", "100 %"],
    ]
    page.wait_for_selector("[data-chart=classes-0] svg")
    assert (shown.faults, Axe().run(page).violations_count) == ([], 0)
    shown.close()


def test_a_claim_leads_to_the_picture_that_shows_it(browser: Browser, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "alexnet"), make_run(tmp_path / "zfnet", looked_at=(2, 3), model="zfnet")]
    difference = {"mean": 1.0, "low": 0.5, "high": 1.5, "images": 9}
    compared = ("detail/conv2", "AlexNet: detail, more")
    claims = [{"claim": "DeNet", "what": what, "difference": difference, "verdict": "holds"} for what in compared]
    (tmp_path / "measures.json").write_text(json.dumps({"claims": claims}))
    file = tmp_path / "both.html"
    assert program.main([*map(str, runs), "--claims", str(tmp_path / "measures.json"), "--out", str(file)]) == 0
    shown = Shown(browser, file)
    page = shown.page
    for link, part in (("curves", "#curves"), ("conv2", "#layer-1"), ("denet", "#denet")):
        page.locator("#claims a", has_text=link).click()
        page.wait_for_function(
            "part => Math.abs(document.querySelector(part).getBoundingClientRect().top) < innerHeight / 2", arg=part
        )
    assert page.url.endswith("#e=2&p=0&l=conv2"), "the last epoch of which both have pictures"
    for words in ("conv2: edges kept, correlation with the image's", "AlexNet: edges kept, correlation with the image's, more"):
        assert page.locator("#claims td", has_text=words).count() == 1
    assert page.locator("#denet .cell.empty").count() == 0
    assert shown.faults == []
    shown.close()
