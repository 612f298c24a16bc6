"""The report's figures as files, the claims, and what is said where something is lacking."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import page as program
from pages.claims import claim_of_accuracy, link_to_picture, read_claims, report_difference
from pages.figures import GAP, LINE, SIDE, TILE, write_figures
from pages.run_data import read_run
from pages.statistics import mcnemar_mid_p, undecided_from
from tests.pages.made_run import MAPS, make_run, map_level

pytestmark = [pytest.mark.slow]


def test_two_networks_and_a_run_that_diverged_give_all_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        make_run(tmp_path / "alexnet"),
        make_run(tmp_path / "zfnet", model="zfnet"),
        make_run(tmp_path / "bad", diverged=True),
    ]
    arguments = [*map(str, runs), "--figures", str(tmp_path / "figures"), "--out", str(tmp_path / "page.html")]
    assert program.main(arguments) == 0
    curves = {f"figure-{number:02d}.{suffix}" for number in (6, 7, 8) for suffix in ("svg", "png")}
    pictures = {f"figure-{number:02d}.png" for number in range(9, 14)}
    assert {file.name for file in (tmp_path / "figures").iterdir()} == curves | pictures
    assert "11 files" in capsys.readouterr().out


def test_what_a_run_lacks_is_said(tmp_path: Path) -> None:
    _, lacking = write_figures([read_run(make_run(tmp_path / "run"))], tmp_path / "figures")
    assert [words.split(":")[0] for words in lacking] == ["figure-06", "figure-08", "figure-11"]
    assert "a run that diverged" in lacking[0]


def test_figure_10_shows_the_maps_in_rows_of_ten_and_the_channels_of_the_projection(tmp_path: Path) -> None:
    write_figures([read_run(make_run(tmp_path / "run"))], tmp_path / "figures")
    pixels = np.asarray(Image.open(tmp_path / "figures/figure-10.png"))
    top = 2 * LINE
    for unit in range(1, MAPS + 1):
        row, column = divmod(unit - 1, 10)
        assert pixels[top + row * TILE + 20, GAP + column * TILE + 20].tolist() == [map_level(0, 4, unit)] * 3
    below = pixels[top + 10 * TILE + GAP + SIDE // 2, GAP + SIDE // 2]
    assert len(set(below.tolist())) == 1, "one channel is grey"


def test_the_reports_own_difference_is_computed_and_not_decided() -> None:
    found = report_difference()
    assert (found.only_second - found.only_first, found.images) == (11, 1735)
    assert (found.verdict, claim_of_accuracy([]).verdict) == ("not decided", "not decided")


def test_the_limit_of_what_is_decided() -> None:
    limit = undecided_from(11)
    assert mcnemar_mid_p((limit - 11) // 2, (limit + 11) // 2) >= 0.05
    assert mcnemar_mid_p((limit - 13) // 2, (limit + 9) // 2) < 0.05


def test_the_runs_disagreement_takes_the_place_of_the_reports(tmp_path: Path) -> None:
    """One image in twelve: 145 of 1,735 would differ."""
    runs = [read_run(make_run(tmp_path / f"{number}", wrong=wrong)) for number, wrong in enumerate(((1,), ()))]
    found = report_difference(runs)
    assert found.only_first + found.only_second == 145


def test_claims_are_read_and_a_file_without_them_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "measures.json"
    difference = {"mean": 1.36, "low": 1.28, "high": 1.44, "images": 221}
    entry = {"claim": "AlexNet shows more blocks", "what": "<b>grid4</b>", "difference": difference, "verdict": "holds"}
    file.write_text(json.dumps({"claims": [entry]}))
    claims = read_claims(file, [])
    assert (claims[1].difference, claims[1].verdict, claims[1].figures) == ("1.360 (1.280 to 1.440)", "holds", "10 to 12")
    run = make_run(tmp_path / "run")
    assert program.main([str(run), "--claims", str(file)]) == 0
    assert "&lt;b&gt;grid4" in (run / "index.html").read_text()
    file.write_text("{}")
    assert program.main([str(run), "--claims", str(file)]) == 2
    assert capsys.readouterr().err.startswith("page.py: ")


def test_a_claim_leads_to_the_last_picture_of_a_test_image_that_all_runs_have() -> None:
    probes = [{"place": "a", "part": "train"}, {"place": "b", "part": "test"}]
    every: dict[str, dict[int, object]] = {f"{probe}/conv 1": {2: {}, 4: {}} for probe in "ab"}
    runs = [
        {"deconvolution": every, "denet": {"a": {4: {}}, "b": {2: {}}}},
        {"deconvolution": every | {"b/conv 1": {2: {}, 3: {}}}, "denet": {"a": {4: {}}}},
    ]

    def link(shown_by: str) -> str:
        return link_to_picture(shown_by, ["conv0", "conv 1"], probes, runs)

    assert link("conv 1") == "e=2&p=1&l=conv%201&s=layer-1"
    assert link("denet") == "e=4&p=0&s=denet"
    assert link("conv9") == ""
    assert link(claim_of_accuracy([]).shown_by) == "s=curves"
