import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PAGE = """<!doctype html><html><head><style>
:root { color-scheme: light dark } body { margin: 0 } section { height: 3000px; background: rgb(200, 0, 0) }
#below { background: rgb(0, 200, 0) } @media (prefers-color-scheme: dark) { #below { background: rgb(0, 0, 200) } }
</style></head><body><section></section><section id="below"></section></body></html>"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "dark", "colour"), [(None, False, (200, 0, 0)), ("below", False, (0, 200, 0)), ("below", True, (0, 0, 200))]
)
def test_a_screenshot_shows_the_section_asked_for(
    section: str | None, dark: bool, colour: tuple[int, int, int], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    where = [*(["--section", section] if section else []), *(["--dark"] if dark else [])]
    command = [
        sys.executable,
        "-m",
        "tools.screenshot",
        f"{page}",
        f"{tmp_path}/page.png",
        "--width=320",
        "--height=200",
        *where,
    ]
    subprocess.run(command, check=True, timeout=120)  # a process of its own, as Playwright allows one browser session in each
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.size == (320, 200)
        assert picture.convert("RGB").getpixel((100, 100)) == colour
