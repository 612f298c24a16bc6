"""``benchmarks/page.py`` measures the page's limits. No time is asserted."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from benchmarks import page
from tests.pages.made_run import make_run

pytestmark = [pytest.mark.slow]
MAPS = "pictures/deconvolution/a-b/conv1/sprites/epoch-002-maps.webp"


def test_a_mirror_image_is_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    page.mirror(run, tmp_path / "mirror")
    pixels = [np.asarray(Image.open(folder / MAPS)) for folder in (run, tmp_path / "mirror")]
    assert np.array_equal(pixels[0][:, ::-1], pixels[1]), "what was lossless stays so"


def test_every_limit_is_measured(browser: Browser, tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", looked_at=(1, 4))
    (one / "summary.json").write_text(json.dumps({"seconds": 400}))
    rows = {row.name: row for row in page.measure(one, two, tmp_path / "page.html", browser, repeats=2)}
    assert list(rows) == [*page.LIMITS, "each epoch"]
    assert rows["each epoch"].theirs == pytest.approx(1), "a hundredth of one of its four epochs"
    assert all(row.ours > 0 for row in rows.values())
    assert rows["size"].ours == pytest.approx((tmp_path / "page.html").stat().st_size / 1e6)
