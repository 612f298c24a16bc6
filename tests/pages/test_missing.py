"""A page of runs that lack something says what, and works."""

import shutil
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

import page as program
from tests.pages.browser import Shown
from tests.pages.made_run import make_run

pytestmark = [pytest.mark.slow]


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


def test_other_classes_and_other_probes_are_said(browser: Browser, tmp_path: Path) -> None:
    one = make_run(tmp_path / "one")
    two = make_run(tmp_path / "two", classes=("ant", "bass", "crab"), probes=("c-d",))
    assert program.main([str(one), str(two), "--out", str(tmp_path / "both.html")]) == 0
    shown = Shown(browser, tmp_path / "both.html")
    page = shown.page
    assert "they were tested on other images" in (page.locator(".verdict").text_content() or "")
    assert page.locator("input[name=probe]").count() == 3
    absent = page.locator(".cell[data-run='1'][data-layer='conv1'] .absent")
    assert absent.text_content() == "This run has no such picture."
    page.locator("input[name=probe]").nth(2).check()
    assert absent.is_hidden()
    assert page.locator(".cell[data-run='0'][data-layer='conv1'] .absent").text_content() == "This run has no such picture."
    assert shown.faults == []
    shown.close()


def test_a_killed_run_has_a_page_that_works(browser: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for file in ("summary.json", "predictions.csv"):
        (run / file).unlink()
    shutil.rmtree(run / "pictures/denet")
    assert program.main([str(run)]) == 0
    shown = Shown(browser, run / "index.html")
    missing = shown.page.locator("header .missing").text_content() or ""
    assert all(words in missing for words in ("no DeNet", "no final figures", "no predictions"))
    assert shown.page.locator(".glance h3").all_text_contents() == ["The image", "conv1", "conv2"]
    assert (shown.faults, Axe().run(shown.page).violations_count) == ([], 0)
    shown.close()


def test_a_run_without_pictures_has_curves_and_mistakes(browser: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "pictures")
    assert program.main([str(run)]) == 0
    shown = Shown(browser, run / "index.html")
    page = shown.page
    missing = page.locator("header .missing").text_content() or ""
    pictures = ("maps and projections of the layers", "DeNet", "filters of the first layer", "strongest activations")
    assert all(f"no {words}" in missing for words in pictures)
    page.wait_for_selector(".chart svg")
    page.locator("#epoch").focus()
    page.keyboard.press("ArrowLeft")
    assert "epoch 3 of 4: run 30.0 %" in (page.locator("#now").text_content() or "")
    for section in ("filters", "top"):
        assert page.locator(f"#{section} .absent").text_content() == "This run has no such picture."
    assert page.locator("#mistakes .gallery img").count() > 0
    assert (shown.faults, Axe().run(page).violations_count) == ([], 0)
    shown.close()


def test_a_run_without_pictures_beside_one_that_has_them(browser: Browser, tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", model="zfnet")
    shutil.rmtree(two / "pictures")
    assert program.main([str(one), str(two), "--out", str(tmp_path / "both.html")]) == 0
    shown = Shown(browser, tmp_path / "both.html")
    assert (
        shown.page.locator(".cell[data-run='1'][data-layer='conv1'] .absent").text_content()
        == "ZFNet has no pictures of conv1."
    )
    assert shown.page.locator(".cell[data-run='0'][data-layer='conv1'] .absent").is_hidden()
    assert (shown.faults, Axe().run(shown.page).violations_count) == ([], 0)
    shown.close()


def test_of_two_runs_the_second_one_alone_has_mistakes_to_show(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "killed"), make_run(tmp_path / "whole")
    (one / "predictions.csv").unlink()
    assert program.main([str(one), str(two), "--out", str(tmp_path / "both.html")]) == 0
    text = (tmp_path / "both.html").read_text()
    assert "Wrong by AlexNet (whole), the surest first (1)" in text
    assert "Wrong by AlexNet (killed)" not in text
