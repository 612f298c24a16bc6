"""The page in a real browser, opened from disk without a network."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

import page as program
from pages.build import write_page
from pages.run_data import read_run
from tests.pages.made_run import make_run

pytestmark = [pytest.mark.slow]
BAD = "<img src=x onerror=\"document.title='bad'\"> a\"b </script><script>document.title='bad'</script>"
PATIENCE = 120_000  # milliseconds; a busy machine is slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("CI needs Chromium") if os.environ.get("CI") else pytest.skip("there is no Chromium")
    options = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=options, timeout=PATIENCE)
        yield started
        started.close()


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


class Shown:
    """A page in the browser, and all that went wrong there."""

    def __init__(self, browser: Browser, file: Path, link: str = "", width: int = 1200, dark: bool = False) -> None:
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"file://{file}{link}", timeout=PATIENCE)

    def close(self) -> None:
        self.page.context.close()


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
    page.locator("h1").click()
    page.keyboard.press("ArrowLeft")
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
    page.get_by_label("map 3 of conv2, alexnet").click()
    assert page.locator("dialog").is_visible()
    assert page.locator("#map-title").text_content() == "alexnet: map 3 of conv2, Faces-image_0001, epoch 4"
    assert page.locator("#map-history button").count() == 2
    assert page.locator("#map-patches img").count() == 2
    page.keyboard.press("ArrowRight")
    assert page.url.endswith("l=conv2&u=10&r=0")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    linked = Shown(browser, comparison, "#e=2&p=1&l=conv2&u=12&r=0")
    assert linked.page.locator("#map-title").text_content() == "alexnet: map 12 of conv2, a-b, epoch 2"
    assert shown.faults == linked.faults == []
    linked.close()
    shown.close()


def test_hostile_names_are_words(browser: Browser, comparison: Path) -> None:
    shown = Shown(browser, comparison)
    assert shown.page.title().startswith("alexnet, <img src=x")
    assert "</script>" in (shown.page.locator("#mistakes").text_content() or ""), "the name of the class is shown as it is"
    assert shown.faults == []
    shown.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("link", ["", "#e=4&p=0&l=conv1&u=3"])
def test_everybody_can_use_it(browser: Browser, comparison: Path, dark: bool, width: int, link: str) -> None:
    shown = Shown(browser, comparison, link, width, dark)
    shown.page.evaluate("document.querySelector('.chart').scrollIntoView()")  # charts are drawn when they come into view
    shown.page.wait_for_selector(".chart svg")
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


def test_a_run_that_was_killed_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "killed"
    run.mkdir()
    whole = make_run(tmp_path / "whole")
    (run / "config.yaml").write_text((whole / "config.yaml").read_text())
    assert program.main([str(run)]) == 0
    assert "no epoch had ended" in (run / "index.html").read_text()
    assert program.main([str(whole), str(run), "--out", str(tmp_path / "both.html")]) == 0
    assert "killed left no predictions of single images" in capsys.readouterr().out


def test_runs_on_other_test_images_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", images=10)
    assert program.main([str(one), str(two), "--out", str(tmp_path / "both.html")]) == 0
    assert "they were tested on other images" in capsys.readouterr().out
    assert "they were tested on other images" in (tmp_path / "both.html").read_text()


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("page.py: ")


def test_charts_as_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert program.main([str(run), "--charts", str(tmp_path / "charts")]) == 0
    names = {file.name for file in (tmp_path / "charts").iterdir()}
    assert {"loss.svg", "loss.png", "accuracy.svg", "calibration.png", "metric-detail.svg"} <= names
