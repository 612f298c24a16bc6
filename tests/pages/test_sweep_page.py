"""The page of a sweep in a real browser."""

import csv
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

import page as program
from pages.sweep import write_sweep_record
from pages.sweep_charts import most_varied
from pages.sweep_data import read_sweep_folder
from tests.pages.browser import Shown
from tests.pages.made_run import make_run

pytestmark = [pytest.mark.slow]
BAD = "</script><img src=x onerror=\"document.title='bad'\">"
HEAD = ["trial", "optim.lr", "model.activation", "ended", "remark", "best", "epoch", "test/accuracy", "test/loss"]
TRIALS = [
    [0, 0.001, "relu", "finished", "", 0.4, 4, 0.4, 2.0],
    [1, 0.01, BAD, "finished", "", 0.6, 4, 0.55, 1.5],
    [2, 1.0, "relu", "diverged", "loss 8e3", 0.9, 1, 0.1, "inf"],
    [3, 10.0, "relu", "failed", BAD, "", "", "", ""],
]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "rates"
    folder.mkdir()
    for number, epochs in ((0, 4), (1, 4), (2, 2)):
        run = make_run(folder / f"trial-{number:03d}", epochs=epochs, looked_at=(2,), diverged=number == 2)
        if number == 2:
            with (run / "metrics.csv").open("a") as stream:
                stream.write("3,inf,nan,0.1,0.1,\n")
        else:
            assert program.main([str(run)]) == 0
    with (folder / "trials.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([HEAD, *TRIALS])
    write_sweep_record(folder, "val/accuracy", maximize=True)
    assert program.main([str(folder)]) == 0
    return folder


def test_the_best_is_none_that_diverged(sweep: Path) -> None:
    found = read_sweep_folder(sweep)
    assert found.best is not None
    assert (found.best.number, found.metric, found.missing) == (1, "val/accuracy", ["no page of trial 2, 3"])
    assert most_varied(found.trials) == "optim.lr"


def test_a_trial_lies_where_the_table_says(tmp_path: Path) -> None:
    (tmp_path / "trial-001").mkdir()
    (tmp_path / "trial-001/metrics.csv").write_text("epoch,val/accuracy\n1,0.5\n")
    (tmp_path / "trials.csv").write_text("trial,lr,ended,remark,folder,best\n4,0.1,finished,,trial-001,0.5\n")
    (trial,) = read_sweep_folder(tmp_path).trials
    assert (trial.number, trial.figures, trial.rows) == (4, {"best": 0.5}, [{"epoch": 1.0, "val/accuracy": 0.5}])


def test_a_click_leads_to_the_trial(browser: Browser, sweep: Path) -> None:
    shown = Shown(browser, sweep / "index.html")
    assert "0.6" in (shown.page.locator("header strong").text_content() or "")
    shown.page.locator("#trials a", has_text="1").click()
    assert shown.page.url.startswith(f"file://{sweep}/trial-001/index.html")
    shown.close()


def test_any_column_sorts_the_table_and_what_is_missing_stays_below(browser: Browser, sweep: Path) -> None:
    shown = Shown(browser, sweep / "index.html")
    head = shown.page.locator("#trials th", has_text="test/loss").locator("button")
    rows = shown.page.locator("#trials tbody tr")
    orders = []
    for _ in range(2):
        head.click()
        orders.append([row.get_attribute("data-trial") for row in rows.all()])
    assert orders == [["1", "0", "2", "3"], ["0", "1", "2", "3"]]
    shown.close()


def test_curves_are_dimmed_but_the_best_and_the_one_pointed_at(browser: Browser, sweep: Path) -> None:
    shown = Shown(browser, sweep / "index.html")
    page = shown.page
    page.locator(".chart[data-chart=curve-test-accuracy]").scroll_into_view_if_needed()
    lines = page.locator(".chart[data-chart=curve-test-accuracy] g.mark-line path")
    lines.first.wait_for()

    def lit() -> list[bool]:
        return [float(line.get_attribute("opacity") or 1) > 0.9 for line in lines.all()]

    assert lit() == [False, True, False]
    page.locator("#trials tbody tr[data-trial='2']").hover()
    page.wait_for_function("document.querySelectorAll('[data-chart=curve-test-accuracy] path[opacity=\"0.2\"]').length > 0")
    page.wait_for_timeout(300)
    assert lit() == [False, True, True]
    assert shown.faults == []
    shown.close()


def test_diverged_trials_are_crosses_at_the_edge(browser: Browser, sweep: Path) -> None:
    shown = Shown(browser, sweep / "index.html")
    marks = shown.page.locator(".chart[data-chart=over-test-loss] g.mark-symbol.role-mark path")
    marks.first.wait_for()
    assert marks.count() == 3, "two trials by their loss, and one cross; the failed one has nothing to show"
    shown.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 390])
def test_everybody_can_use_it(browser: Browser, sweep: Path, dark: bool, width: int) -> None:
    shown = Shown(browser, sweep / "index.html", width=width, dark=dark)
    shown.page.wait_for_selector(".chart svg")
    found = Axe().run(shown.page)
    assert found.violations_count == 0, found.generate_report()
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
    assert shown.page.title() == "rates", "a hostile name is only words"
    assert (shown.faults, len(shown.requests)) == ([], 1)
    shown.close()


def test_a_sweep_whose_trials_are_gone_says_so(tmp_path: Path) -> None:
    with (tmp_path / "trials.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([HEAD, *TRIALS])
    assert program.main([str(tmp_path)]) == 0
    text = (tmp_path / "index.html").read_text()
    assert "no trial&#39;s folder, so no curves" in text
    assert "no sweep.json" in text


@pytest.mark.parametrize(
    ("ended", "words"), [(None, "no trial had ended"), (0, "no trial had ended"), (1, "only 1 of its trials had ended")]
)
def test_a_sweep_without_an_end_is_one_line_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ended: int | None, words: str
) -> None:
    """Of a sweep that has only its study, of one whose first trial trains, and of one whose first trial has ended."""
    (tmp_path / "study.db").touch()
    if ended is not None:
        for number in range(ended + 1):
            run = make_run(tmp_path / f"trial-{number:03d}")
            if number == ended:
                (run / "summary.json").unlink()
    assert program.main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"page.py: {tmp_path}: {words}, and sweep.py writes trials.csv when all have; let it run on")
    assert said.endswith(f": python page.py {tmp_path}/trial-*/\n") == (ended is not None)
    assert said.count("\n") == 1


def test_a_sweep_beside_a_run_is_refused(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(sweep), str(sweep / "trial-000")]) == 2
    assert "name it alone" in capsys.readouterr().err
