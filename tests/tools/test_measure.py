"""Intervals and verdicts on made numbers, where the right answer is known."""

import math

import pytest
import torch
from torch import Tensor

from configs import DataSettings
from datamodules.registry import build_datamodule
from tools.measure import Comparison, Interval, calibration, comparisons, places, unseen_by_all

LAST = "conv5"


def test_an_interval_is_the_mean_and_196_standard_errors() -> None:
    torch.manual_seed(0)
    values = torch.randn(400) + 5
    found = Interval.of(torch.cat([values, torch.tensor([math.nan])]))
    assert found.images == 400
    assert found.mean == pytest.approx(float(values.mean()))
    assert found.high - found.mean == pytest.approx(1.96 * float(values.std()) / 20, rel=1e-5)
    inside = sum(each.low < 0 < each.high for each in (Interval.of(torch.randn(50)) for _ in range(400)))
    assert 0.9 < inside / 400 < 0.98, "the true mean lies in about 95 % of the intervals"


@pytest.mark.parametrize(("shift", "verdict"), [(1.0, "holds"), (-1.0, "does not hold"), (0.0, "not decided")])
def test_a_verdict_follows_from_where_the_interval_lies(shift: float, verdict: str) -> None:
    values = torch.linspace(-1, 1, 101) + shift
    assert Comparison("", "", Interval.of(values)).verdict == verdict


def made(blocks: float, detail: float, denet: float) -> dict[str, Tensor]:
    """Numbers of a network with so strong blocks, so much detail and DeNet so much better than Deconvolution."""
    wobble = torch.linspace(-0.01, 0.01, 30)
    found: dict[str, Tensor] = {}
    for picture in (LAST, "denet", "gradient"):
        better = denet if picture == "denet" else 0.0
        found |= {f"grid{period}/{picture}": blocks + wobble for period in (2, 4)}
        found[f"detail/{picture}"] = detail + better + wobble
        found |= {f"{name}/{picture}": 0.5 + better + wobble.flip(0) for name in ("inside", "pointing", "insertion")}
        found[f"deletion/{picture}"] = 0.5 - better + wobble
    return found


def test_each_claim_is_judged_in_the_direction_that_the_report_states() -> None:
    found = comparisons(made(blocks=3, detail=0.2, denet=0.3), made(blocks=1, detail=0.4, denet=-0.3))
    verdicts = {each.what: each.verdict for each in found}
    assert verdicts["grid4/conv5, logarithm"] == verdicts["grid2/denet, logarithm"] == "holds"
    assert verdicts["detail/conv5"] == "holds"
    assert verdicts["detail/denet"] == "does not hold"
    for measure in ("detail, more", "inside, more", "pointing, more", "insertion, more", "deletion, less"):
        assert verdicts[f"AlexNet: {measure}"] == "holds"
        assert verdicts[f"ZFNet: {measure}"] == "does not hold"
    assert "gradient" not in " ".join(verdicts)


def test_images_are_those_that_no_run_was_trained_on() -> None:
    runs = []
    for seed in (1, 2):
        settings = DataSettings(name="shapes", images_per_class=10, batch_size=8, test_fraction=0.5, seed=seed)
        data = build_datamodule(settings, 67, seed=1)
        data.prepare_data()
        data.setup("fit")
        runs.append(data)
    files = unseen_by_all(runs, per_class=2)
    assert len(files) > 8
    for data in runs:
        assert not {data.files[i] for part in (data.split.train, data.split.val) for i in part} & set(files)
        assert [data.files[i] for i in places(data, files)] == files
    classes = [file.split("/")[0] for file in files]
    assert max(classes.count(name) for name in classes) <= 2


def test_a_stronger_grid_on_photographs_gives_a_larger_number() -> None:
    torch.manual_seed(0)
    found = calibration(torch.randint(0, 200, (4, 3, 128, 128), dtype=torch.uint8))
    for by_strength in found.values():
        means = [float(values.log().mean()) for values in by_strength.values()]
        assert means == sorted(means)
        assert abs(means[0]) < 0.5 < means[-1]
