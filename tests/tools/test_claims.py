"""Intervals and verdicts on made numbers, where the right answer is known."""

import math

import pytest
import torch
from torch import Tensor

from tools.claims import Comparison, Interval, compare_claims

LAST = "conv5"


def test_an_interval_is_the_mean_and_196_standard_errors() -> None:
    torch.manual_seed(0)
    values = torch.randn(400) + 5
    found = Interval.of([torch.cat([values, torch.tensor([math.nan])])])
    assert found.images == 400
    assert found.mean == pytest.approx(float(values.mean()))
    assert found.high - found.mean == pytest.approx(1.96 * float(values.std()) / 20, rel=1e-5)
    inside = sum(each.low < 0 < each.high for each in (Interval.of([torch.randn(50)]) for _ in range(400)))
    assert 0.9 < inside / 400 < 0.98, "the true mean lies in about 95 % of the intervals"


def test_several_trainings_give_students_interval_of_their_means() -> None:
    """By hand: the means 1, 2 and 6 have mean 3 and deviation sqrt(7); t for two degrees of freedom is 4.303."""
    found = Interval.of([torch.tensor([0.0, 2.0]), torch.tensor([2.0, math.nan]), torch.tensor([5.0, 6.0, 7.0])])
    assert (found.mean, found.images, found.trainings) == (3, 6, 3)
    assert found.high - found.mean == pytest.approx(4.303 * math.sqrt(7 / 3), rel=1e-4)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_the_interval_of_trainings_covers_seeds_and_images() -> None:
    """Trainings differ by their seeds (deviation 1), images by theirs (3): 95 % of the intervals hold the true mean."""
    torch.manual_seed(0)
    inside = 0
    for _ in range(400):
        found = Interval.of([seed + 3 * torch.randn(20) for seed in torch.randn(3)])
        inside += found.low < 0 < found.high
    assert 0.92 < inside / 400 < 0.98


@pytest.mark.parametrize(("shift", "verdict"), [(1.0, "holds"), (-1.0, "does not hold"), (0.0, "not decided")])
def test_a_verdict_follows_from_where_the_interval_lies(shift: float, verdict: str) -> None:
    values = torch.linspace(-1, 1, 101) + shift
    assert Comparison("", "", Interval.of([values])).verdict == verdict


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
    found = compare_claims([made(blocks=3, detail=0.2, denet=0.3)], [made(blocks=1, detail=0.4, denet=-0.3)], [LAST, "denet"])
    verdicts = {each.what: each.verdict for each in found}
    assert verdicts["grid4/conv5, logarithm"] == verdicts["grid2/denet, logarithm"] == "holds"
    assert verdicts["detail/conv5"] == "holds"
    assert verdicts["detail/denet"] == "does not hold"
    for measure in ("detail, more", "inside, more", "pointing, more", "insertion, more", "deletion, less"):
        assert verdicts[f"AlexNet: {measure}"] == "holds"
        assert verdicts[f"ZFNet: {measure}"] == "does not hold"
    assert "gradient" not in " ".join(verdicts)


def test_logarithms_give_the_geometric_mean() -> None:
    found = Interval.of_logarithms([torch.tensor([1.0, 4.0, math.nan])])
    assert found.mean == pytest.approx(2)
    assert found.images == 2
    assert found.low * found.high == pytest.approx(4)


def test_differences_are_taken_within_a_training_first() -> None:
    """Two trainings whose networks both shift by as much: what is compared is the same in each."""
    shifts = (0.0, 0.3)
    alexnet = [{name: values + shift for name, values in made(3, 0.2, 0.3).items()} for shift in shifts]
    zfnet = [{name: values + shift for name, values in made(1, 0.4, -0.3).items()} for shift in shifts]
    (detail,) = (each for each in compare_claims(alexnet, zfnet, [LAST, "denet"]) if each.what == "detail/conv5")
    assert detail.difference.mean == pytest.approx(0.2)
    assert detail.difference.high - detail.difference.low == pytest.approx(0, abs=1e-5)
    assert detail.difference.trainings == 2


def test_what_no_image_has_a_value_of_says_so() -> None:
    assert str(Interval.of([torch.tensor([math.nan, math.nan])])) == "no value"
