"""Quotas are exact, groups stay whole, and the seed decides."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import DataSettings, SettingsError
from datamodules import splits
from datamodules.splits import Split, draw, groups, is_saved_split, save_split, split

CLASS_SIZES = np.array([31, 80, 45, 45])
NAMES = ["ant", "bee", "cat", "cat_easy"]
TARGETS = np.repeat(np.arange(4), CLASS_SIZES)


def example_groups() -> np.ndarray:
    """Some groups within a class, and each cat with its cat_easy."""
    group = np.arange(len(TARGETS))
    group[5:8], group[40:45] = 5, 40
    group[156:] = group[111:156]
    return group


BOTH = [DataSettings(split="fraction"), DataSettings(split="per_class", train_per_class=20, test_per_class=15)]


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n), st.integers(0, n))))))
def test_groups_are_the_connected_components(case: tuple[int, list[tuple[int, int]]]) -> None:
    count, links = case  # index ``count`` stands for a file that is not in the data set
    found = groups([str(i) for i in range(count)], [(str(a), str(b)) for a, b in links])
    joined = np.eye(count, dtype=bool)
    for a, b in links:
        if max(a, b) < count:
            joined[a, b] = joined[b, a] = True
    for _ in range(count):  # the plain way: reachability by multiplying
        joined = joined @ joined
    np.testing.assert_array_equal(found[:, None] == found[None, :], joined)


@pytest.mark.parametrize("settings", BOTH, ids=["fraction", "per_class"])
@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_parts_disjoint(settings: DataSettings, seed: int) -> None:
    settings = DataSettings(**{**vars(settings), "seed": seed})
    group = example_groups()
    parts = split(TARGETS, group, NAMES, settings)
    owners = [set(group[part]) for part in (parts.train, parts.val, parts.test)]
    assert sum(map(len, owners)) == len(set.union(*owners))
    for part in (parts.train, parts.val, parts.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


def test_fraction_is_exact_in_every_class() -> None:
    parts = split(TARGETS, example_groups(), NAMES, DataSettings(test_fraction=0.3, val_fraction=0.2))
    test = [round(0.3 * n) for n in CLASS_SIZES]
    val = [round(0.2 * (n - t)) for n, t in zip(CLASS_SIZES, test, strict=True)]
    assert np.bincount(TARGETS[parts.test]).tolist() == test
    assert np.bincount(TARGETS[parts.val]).tolist() == val
    assert len(parts.train) + len(parts.val) + len(parts.test) == len(TARGETS)


def test_per_class_counts() -> None:
    settings = DataSettings(split="per_class", train_per_class=20, test_per_class=15, val_fraction=0.1)
    parts = split(TARGETS, example_groups(), NAMES, settings)
    assert np.bincount(TARGETS[parts.train]).tolist() == [18] * 4
    assert np.bincount(TARGETS[parts.val]).tolist() == [2] * 4
    assert np.bincount(TARGETS[parts.test]).tolist() == [11, 15, 15, 15]


def test_split_is_a_function_of_its_own_seed() -> None:
    once, again, other = (split(TARGETS, example_groups(), NAMES, DataSettings(seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.test, again.test)
    np.testing.assert_array_equal(once.train, again.train)
    assert not np.array_equal(once.test, other.test)


def test_test_part_does_not_depend_on_validation() -> None:
    with_val, without = (split(TARGETS, example_groups(), NAMES, DataSettings(val_fraction=share)) for share in (0.1, 0))
    np.testing.assert_array_equal(with_val.test, without.test)
    assert len(without.val) == 0


def test_parts_that_are_given_stay_and_the_others_are_drawn_from_train() -> None:
    rng = np.random.default_rng(1)
    order = rng.permutation(len(TARGETS))
    alone = np.arange(len(TARGETS))
    given = {"train": np.sort(order[:120]), "val": np.sort(order[120:150]), "test": np.sort(order[150:])}
    whole = split(TARGETS, alone, NAMES, DataSettings(), given)
    for part, images in given.items():
        np.testing.assert_array_equal(getattr(whole, part), images)
    for missing in ("val", "test"):
        some = {part: images for part, images in given.items() if part != missing}
        found = split(TARGETS, alone, NAMES, DataSettings(), some)
        drawn = getattr(found, missing)
        share = {"val": 0.1, "test": 0.2}[missing]
        assert np.bincount(TARGETS[drawn], minlength=4).tolist() == [
            round(share * n) for n in np.bincount(TARGETS[given["train"]])
        ]
        np.testing.assert_array_equal(np.union1d(found.train, drawn), given["train"])
        assert not np.intersect1d(found.train, drawn).size
        for part in some.keys() - {"train"}:
            np.testing.assert_array_equal(getattr(found, part), some[part])


def test_a_train_part_alone_is_split_like_everything() -> None:
    everything = split(TARGETS, example_groups(), NAMES, DataSettings())
    given = split(TARGETS, example_groups(), NAMES, DataSettings(), {"train": np.arange(len(TARGETS))})
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(given, part), getattr(everything, part))


def test_draw_tries_again_when_an_order_leaves_a_class_short() -> None:
    targets, group = np.zeros(4, dtype=np.int64), np.array([0, 0, 2, 3])
    for seed in range(20):  # 3 of 4: only the pair and one of the others will do, and two singles may come first
        drawn = draw(np.arange(4), targets, group, np.array([3]), np.random.default_rng(seed))
        assert len(drawn) == 3
        assert {0, 1} <= set(drawn.tolist())


def test_draw_passes_over_a_group_that_would_overfill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "DRAWS", 1)
    targets, group = np.zeros(8, dtype=np.int64), np.array([0, 0, 0, 0, 0, 5, 6, 7])
    for seed in range(20):  # five images are too many wherever their group comes, so it's always the other three
        assert draw(np.arange(8), targets, group, np.array([3]), np.random.default_rng(seed)).tolist() == [5, 6, 7]


def test_draw_gives_up_on_the_impossible() -> None:
    with pytest.raises(SettingsError, match="must stay together"):
        draw(np.arange(2), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), np.array([1]), np.random.default_rng(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (DataSettings(split="per_class", train_per_class=31), r"train_per_class=31: ant has 31 images .* ask for 1 to 30"),
        (DataSettings(split="per_class", train_per_class=0), "train_per_class=0"),
        (DataSettings(split="per_class", train_per_class=9, test_per_class=0), "test_per_class=0"),
        (DataSettings(test_fraction=0.01), r"test_fraction=0.01: ant has 31 images .* between 0.03 and 0.97"),
        (DataSettings(test_fraction=0.99), "test_fraction=0.99"),
        (DataSettings(test_fraction=-0.2), "test_fraction=-0.2"),
        (DataSettings(val_fraction=0.99), "val_fraction=0.99: ant has 25 training images"),
        (DataSettings(val_fraction=-0.1), "val_fraction=-0.1"),
        (DataSettings(split="half"), "choose fraction or per_class"),
    ],
)
def test_impossible_wishes_are_explained(settings: DataSettings, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        split(TARGETS, example_groups(), NAMES, settings)
    assert "\n" not in str(caught.value)


def test_split_is_saved_as_lists_of_files(tmp_path: Path) -> None:
    files = [f"cat/{number}.jpg" for number in range(5)]
    parts = Split(train=np.array([0, 3]), val=np.array([], dtype=np.int64), test=np.array([1, 2]))
    assert is_saved_split(parts, files, tmp_path / "new"), "nothing else was saved"
    save_split(parts, files, tmp_path / "new")
    assert is_saved_split(parts, files, tmp_path / "new")
    assert not is_saved_split(parts, ["cat/new.jpg", *files], tmp_path / "new")
    assert not is_saved_split(Split(parts.train, parts.test, parts.val), files, tmp_path / "new")
    assert [parts.part(image) for image in range(5)] == ["train", "test", "test", "train", "unused"]
    written = {file.name: file.read_text().split() for file in (tmp_path / "new").iterdir()}
    assert written == {
        "train.txt": ["cat/0.jpg", "cat/3.jpg"],
        "val.txt": [],
        "test.txt": ["cat/1.jpg", "cat/2.jpg"],
    }
