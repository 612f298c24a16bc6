"""Take a screenshot of a page: ``python -m tools.screenshot RUN/index.html page.png --state 'e=64&p=7' --section layers``.

Opens the file in the system's Chromium, as a person would, with no network.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def screenshot(page: Path, out: Path, state: str, section: str | None, width: int, height: int, dark: bool) -> None:
    """Write a picture of a page in a state.

    Args:
        page: the file.
        out: PNG or JPEG.
        state: what follows ``#`` in the page's link.
        section: the id of the section to begin at; None for the top.
        width: of the window in pixels.
        height: of the window in pixels.
        dark: in dark colours.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        tab.goto(f"{page.resolve().as_uri()}#{state}", timeout=120_000)
        tab.wait_for_timeout(1000)  # charts are drawn when they come into view
        if section:
            tab.evaluate("id => document.getElementById(id).scrollIntoView()", section)
            tab.wait_for_timeout(1000)
        tab.screenshot(path=out)
        browser.close()


def main() -> None:
    """Take the screenshot that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--state", default="", help="of the page, such as 'e=64&p=7', as its link has it")
    parser.add_argument("--section", help="where to begin, such as layers")
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    screenshot(options.page, options.out, options.state, options.section, options.width, options.height, options.dark)


if __name__ == "__main__":
    main()
