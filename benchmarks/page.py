"""What a page must keep to, measured on a comparison of two runs: ``python -m benchmarks.page RUN [RUN] [--repeats N]``.

How long the page takes to write, its size, how long it takes to open in the system's Chromium, and how long a step of the
slider takes until all pictures of the new epoch are shown; and what the page that is written after each epoch adds to the first
run. Where one run is given, the other is its mirror image: the same run with every picture turned left to right, as equal
pictures would be kept once.
"""

import argparse
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageOps
from playwright.sync_api import Browser, sync_playwright

from benchmarks.timing import Row
from pages.build import write_page
from pages.run_data import read_run

LIMITS = {
    "written": (60.0, "s"),
    "size": (25.0, "MB"),
    "opened": (1.0, "s"),
    "first step": (70.0, "ms"),  # to an epoch that was not shown before
    "step back": (70.0, "ms"),
}
SHARE = 0.01  # of a run's time, for the page that is written anew after each epoch
PATIENCE = 120_000  # milliseconds

# All pictures that follow the slider have been decoded and are those of their source, "#17" for the 17th in the file.
SETTLED = """() => [...document.querySelectorAll("img[data-sprite]")].every(({dataset, src, complete}) =>
  dataset.shown !== undefined &&
  (dataset.shown ? complete && src.endsWith(document.getElementById(`p${dataset.shown.slice(1)}`).textContent) : !src))"""
STEPS = """async () => {
  const settled = SETTLED;
  const { runs } = JSON.parse(document.getElementById("data").textContent);
  const places = runs.flatMap((run) => Object.values(run.pictures.deconvolution));
  const epochs = [...new Set(places.flatMap(Object.keys))].map(Number).sort((a, b) => a - b);
  const slider = document.getElementById("epoch");
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  document.getElementById("layers").scrollIntoView();
  const step = async (epoch) => {
    const started = performance.now();
    slider.value = epoch;
    slider.dispatchEvent(new Event("input"));
    do await painted(); while (!settled());
    return performance.now() - started;
  };
  const walk = async (order) => {
    const taken = [];
    for (const epoch of order) taken.push(await step(epoch));
    return taken;
  };
  return [await walk(epochs), await walk(epochs.toReversed().slice(1))];
}""".replace("SETTLED", SETTLED)


def mirror(run: Path, folder: Path) -> None:
    """Copy a run's folder, without its weights, and turn every picture of its page left to right."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints", "wandb", "*.html", "*.jpg", ".lock"))
    for file in folder.rglob("*.webp"):
        lossless = file.read_bytes()[12:16] == b"VP8L"
        with Image.open(file) as picture:
            mirrored = ImageOps.mirror(picture)
        mirrored.save(file, lossless=lossless, quality=60, method=2)


def measure(first: Path, second: Path, file: Path, browser: Browser, repeats: int) -> list[Row]:
    """Write the comparison of two runs as ``file`` and open it, so many times. Returns a row for each limit.

    What a page costs in a run is known of runs that came to an end.
    """
    found: dict[str, list[float]] = {name: [] for name in LIMITS}
    for _ in range(repeats):
        started = time.perf_counter()
        write_page([read_run(first), read_run(second)], file)
        found["written"].append(time.perf_counter() - started)
        found["size"].append(file.stat().st_size / 1e6)
        tab = browser.new_context(offline=True, viewport={"width": 1200, "height": 900}).new_page()
        tab.set_default_timeout(PATIENCE)
        started = time.perf_counter()
        tab.goto(file.resolve().as_uri(), timeout=PATIENCE)
        tab.wait_for_function(SETTLED)
        found["opened"].append(time.perf_counter() - started)
        first_steps, steps_back = tab.evaluate(STEPS)
        found["first step"] += first_steps
        found["step back"] += steps_back
        tab.context.close()
    rows = [_row(name, found[name], *LIMITS[name]) for name in LIMITS]
    run = read_run(first)
    if "seconds" in run.summary:
        live = _write_live(first, file.with_name("live"), repeats)
        rows.append(_row("each epoch", live, SHARE * run.summary["seconds"] / len(run.rows), "s"))
    return rows


def _write_live(run: Path, folder: Path, repeats: int) -> list[float]:
    """Write a run's page as after its last epoch, when it had no final figures yet. Returns the seconds, so many times."""
    at_the_end = ("summary.json", "predictions.csv", "mistakes")
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns(*at_the_end, "checkpoints", "wandb", "*.html", "*.jpg", ".lock"))
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        write_page([read_run(folder)], folder / "index.html", inline=False, live=True)
        seconds.append(time.perf_counter() - started)
    return seconds


def _row(name: str, values: Sequence[float], limit: float, unit: str) -> Row:
    middle = statistics.median(values)
    return Row(name, middle, limit, unit, middle / limit, (min(values) / limit, max(values) / limit), "of the limit")


def main() -> None:
    """Measure the runs that the command line names, and print a line for each limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("other", type=Path, nargs="?", metavar="RUN", help="another's [default: the first one's mirror image]")
    parser.add_argument("--repeats", type=int, default=5, help="how often [default: 5]")
    options = parser.parse_args()
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        other: Path = options.other or Path(place) / f"mirror-image-of-{options.run.name}"
        if not options.other:
            mirror(options.run, other)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for row in measure(options.run, other, Path(place) / "page.html", browser, options.repeats):
            least, most = (share * row.theirs for share in row.spread or ())
            verdict = "within" if row.ours <= row.theirs else "OVER"
            print(f"{row.name:10} {row.ours:8.3g} {row.unit:2} ({least:.3g} to {most:.3g}): {verdict} {row.theirs:g}")
        browser.close()


if __name__ == "__main__":
    main()
