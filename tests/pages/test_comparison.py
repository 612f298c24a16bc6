"""What runs show of these weights, and what of the architecture."""

import math
from pathlib import Path

import pytest
from scipy import stats

import page as program
from pages.comparison import compare_architectures, compare_weights, find_configurations, label_runs
from pages.run_data import RunData, read_run
from tests.pages.made_run import make_run

WRONG = {"alexnet": {1: 4, 2: 6, 3: 5}, "zfnet": {1: 3, 2: 4, 3: 2}}  # of 20 images, by seed


def make_seeds(folder: Path, own_images: bool) -> list[Path]:
    """Make three trainings of each network, on the same test images or each seed on its own."""
    return [
        make_run(
            folder / f"{network}-{seed}", model=network, seed=seed, split=seed if own_images else 1,
            images=20, wrong=range(wrong),
        )
        for network, by_seed in WRONG.items()
        for seed, wrong in by_seed.items()
    ]  # fmt: skip


@pytest.fixture
def seeds(tmp_path: Path) -> list[Path]:
    """Three trainings of each network, each seed with test images of its own."""
    return make_seeds(tmp_path, own_images=True)


def read(folders: list[Path]) -> list[RunData]:
    return [read_run(folder) for folder in folders]


def words(page: Path) -> str:
    return " ".join(page.read_text().partition("</header>")[0].split())


def test_runs_are_called_by_their_networks_and_where_two_have_one_by_their_folders_too(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a"), make_run(tmp_path / "b", model="zfnet")
    again = make_run(tmp_path / "again/a", seed=2)
    assert label_runs(read([one])) == ["a"]
    assert label_runs(read([one, other])) == ["AlexNet", "ZFNet"]
    assert label_runs(read([one, again, other])) == ["AlexNet (a, 1)", "AlexNet (a, 2)", "ZFNet"]
    assert program.main([str(one), str(other), "--out", str(tmp_path / "both.html")]) == 0
    head = words(tmp_path / "both.html")
    assert "<h1>AlexNet, ZFNet</h1>" in head
    assert "<strong>AlexNet</strong> on Caltech-101, run a:" in head


def test_each_run_is_compared_with_the_first_of_its_own_test_images(seeds: list[Path]) -> None:
    runs = read(seeds)
    found = compare_weights(runs, label_runs(runs))
    pairs = [(each.first, each.second, each.problem) for each in found]
    other = "they were tested on other images"
    assert pairs[:2] == [("AlexNet (alexnet-1)", f"AlexNet (alexnet-{seed})", other) for seed in (2, 3)]
    assert pairs[2:] == [(f"AlexNet (alexnet-{seed})", f"ZFNet (zfnet-{seed})", "") for seed in (1, 2, 3)]
    assert not any(each.only_seeds for each in found[2:])


def test_the_mean_difference_over_seeds_by_hand(seeds: list[Path]) -> None:
    """1, 2 and 3 images more of 20: mean 10 points, deviation 5, four training images for each of the test."""
    (found,) = compare_architectures(find_configurations(read(seeds)))
    assert (found.first, found.second, found.pairs, found.new_splits, found.besides) == ("AlexNet", "ZFNet", 3, True, [])
    assert found.result is not None
    assert found.result.difference.value == pytest.approx(0.1)
    half = float(stats.t.ppf(0.975, 2)) * 0.05 * math.sqrt(1 / 3 + 1 / 4)
    assert found.result.difference.low == pytest.approx(0.1 - half)
    assert found.result.verdict == "not decided"


def test_on_the_same_test_images_the_interval_is_of_the_seeds_alone(tmp_path: Path) -> None:
    folders = make_seeds(tmp_path, own_images=False)
    (found,) = compare_architectures(find_configurations(read(folders)))
    expected = stats.ttest_1samp([0.05, 0.1, 0.15], 0).confidence_interval(0.95)
    assert found.result is not None
    assert (found.result.difference.low, found.result.difference.high) == pytest.approx((expected.low, expected.high))
    assert not found.new_splits


def test_one_training_of_each_says_nothing_of_the_architecture(tmp_path: Path) -> None:
    """However clear it is for these weights."""
    one = make_run(tmp_path / "one", images=60, wrong=range(40))
    two = make_run(tmp_path / "two", images=60, wrong=(), model="zfnet")
    assert program.main([str(one), str(two), "--out", str(tmp_path / "both.html")]) == 0
    text = words(tmp_path / "both.html")
    assert "ZFNet against AlexNet: <strong>better</strong>" in text
    assert "This holds for these weights on these images." in text
    assert "Architecture, ZFNet against AlexNet: <strong>not decided</strong>" in text
    assert "one was given" in text
    assert "on average" not in text


def test_several_trainings_of_each_are_said_in_the_head(seeds: list[Path], tmp_path: Path) -> None:
    assert program.main([*map(str, seeds), "--out", str(tmp_path / "all.html")]) == 0
    text = words(tmp_path / "all.html")
    assert "AlexNet with 3 seeds: 75.00 % on average, 70.00 to 80.00 %, standard deviation 5.00 points" in text
    assert "Architecture, ZFNet against AlexNet: <strong>not decided</strong> over 3 seeds" in text
    assert "The mean difference is +10.00 points (" in text
    assert "This holds for other seeds and other test images." in text
    assert "one was given" not in text


def test_two_seeds_of_one_network_show_what_a_seed_does(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / f"seed-{seed}", seed=seed, wrong=range(seed)) for seed in (1, 2)]
    assert program.main([*map(str, folders), "--out", str(tmp_path / "both.html")]) == 0
    text = words(tmp_path / "both.html")
    assert "the two trainings differ in nothing but their seeds" in text
    assert "AlexNet with 2 seeds: 87.50 % on average" in text
    assert "Architecture" not in text


def test_seeds_without_a_partner_decide_nothing(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / f"alexnet-{seed}", seed=seed) for seed in (1, 2)]
    folders += [make_run(tmp_path / f"zfnet-{seed}", seed=seed, model="zfnet") for seed in (3, 4)]
    (found,) = compare_architectures(find_configurations(read(folders)))
    assert (found.pairs, found.result) == (0, None)


def test_the_same_training_twice_is_one_and_a_diverged_one_none(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name) for name in ("run", "copy")]
    folders.append(make_run(tmp_path / "bad", seed=2, diverged=True))
    (found,) = find_configurations(read(folders))
    assert ([run.name for run in found.runs], found.left_out) == (["run"], 1)


def test_other_settings_are_another_configuration_and_are_named(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / f"{lr:g}-{seed}", seed=seed, lr=lr) for lr in (0.1, 0.2) for seed in (1, 2)]
    configurations = find_configurations(read(folders))
    assert [each.label for each in configurations] == ["AlexNet as in 0.1-1", "AlexNet as in 0.2-1"]
    (found,) = compare_architectures(configurations)
    assert (found.pairs, found.models, found.besides) == (2, False, ["optim.lr"])
    folders[2:] = [make_run(tmp_path / f"zfnet-{seed}", seed=seed, lr=0.2, model="zfnet") for seed in (1, 2)]
    assert program.main([*map(str, folders), "--out", str(tmp_path / "page.html")]) == 0
    assert "The two also differ in optim.lr, so it is not the architecture alone." in words(tmp_path / "page.html")
