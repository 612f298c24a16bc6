"""Which images train and which are tested: a few pure functions over labels.

Images that show the same thing form a group, and a group stays whole: all of it is in train, in val or in test.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs import DataSettings, SettingsError
from configs.files import atomic_write_text

Indices = NDArray[np.int64]

DRAWS = 100  # orders of the groups to try before a quota is called impossible


@dataclass(frozen=True)
class Split:
    """Indices of the images in each part: sorted, no image in two parts."""

    train: Indices
    val: Indices
    test: Indices

    def part(self, image: int) -> str:
        """Return the name of the part that holds ``image``, or ``unused``."""
        return next((field.name for field in fields(self) if image in getattr(self, field.name)), "unused")


def groups(files: Sequence[str], pairs: Iterable[tuple[str, str]]) -> Indices:
    """Find the group of each file, where both files of every pair share one: connected components, by union-find.

    Args:
        files: the N images.
        pairs: files that belong together. Pairs with a file that isn't in ``files`` are skipped.

    Returns:
        (N,): each file's group, which is the smallest index in it.
    """
    index = {file: i for i, file in enumerate(files)}
    parent = list(range(len(files)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in pairs:
        if a in index and b in index:
            low, high = sorted((root(index[a]), root(index[b])))
            parent[high] = low
    return np.array([root(i) for i in range(len(files))], dtype=np.int64)


def split(
    targets: Indices,
    groups: Indices,
    class_names: Sequence[str],
    settings: DataSettings,
    given: Mapping[str, Indices] | None = None,
) -> Split:
    """Divide the images as ``settings`` ask, drawn by ``settings.seed`` alone.

    With ``split=fraction`` each class of n images has round(test_fraction * n) in test, with ``per_class`` exactly
    train_per_class in train and at most test_per_class in test. Of each class's training images, the share val_fraction is
    then set aside.

    Args:
        targets: (N,) class of each image.
        groups: (N,) group of each image.
        class_names: for messages.
        settings: how to split.
        given: parts that are settled, by name: train, and val or test or both, which stay as they are. A part that isn't given
            is drawn from train.

    Raises:
        SettingsError: a class would have nothing to train or to test on.
    """
    given = given or {}
    check_sizes(targets, class_names, settings, given)
    candidates = given.get("train", np.arange(len(targets)))
    sizes = np.bincount(targets[candidates], minlength=len(class_names))
    rng = np.random.default_rng(settings.seed)
    if "test" in given:
        test, train = given["test"], candidates
    elif settings.split == "fraction":
        test = draw(candidates, targets, groups, np.rint(settings.test_fraction * sizes).astype(np.int64), rng)
        train = np.setdiff1d(candidates, test)
    else:
        train = draw(candidates, targets, groups, np.full_like(sizes, settings.train_per_class), rng)
        rest = np.setdiff1d(candidates, train)
        quotas = np.minimum(settings.test_per_class, np.bincount(targets[rest], minlength=len(class_names)))
        test = draw(rest, targets, groups, quotas, rng)
    if "val" in given:
        return Split(train=train, val=given["val"], test=test)
    train_sizes = np.bincount(targets[train], minlength=len(class_names))
    val = draw(train, targets, groups, np.rint(settings.val_fraction * train_sizes).astype(np.int64), rng)
    return Split(train=np.setdiff1d(train, val), val=val, test=test)


def draw(candidates: Indices, targets: Indices, groups: Indices, quotas: Indices, rng: np.random.Generator) -> Indices:
    """Draw whole groups of ``candidates``, such that class c has exactly ``quotas[c]`` images; sorted.

    Groups come in random order, and one that would overfill any of its classes is skipped. An order that leaves a class short
    is discarded and another one tried.

    Args:
        candidates: indices of the images to draw from.
        targets: (N,) class of each image.
        groups: (N,) group of each image.
        quotas: (classes,) images to draw of each class.
        rng: decides the orders.

    Raises:
        SettingsError: ``DRAWS`` orders all left a class short.
    """
    members: dict[int, list[int]] = {}
    for image in candidates:
        members.setdefault(int(groups[image]), []).append(int(image))
    listed = list(members.values())
    counts = [np.unique(targets[group], return_counts=True) for group in listed]
    for _ in range(DRAWS):
        missing = quotas.copy()
        taken: list[int] = []
        for i in rng.permutation(len(listed)):
            classes, count = counts[i]
            if (missing[classes] >= count).all():
                missing[classes] -= count
                taken += listed[i]
        if not missing.any():
            return np.array(sorted(taken), dtype=np.int64)
    raise SettingsError("data.split: images that must stay together leave no way to fill every class; ask for other sizes")


def check_sizes(
    targets: Indices, class_names: Sequence[str], settings: DataSettings, given: Mapping[str, Indices] | None = None
) -> None:
    """Raise SettingsError if a class would have nothing to train or to test on. Arguments as for ``split``."""
    given = given or {}
    sizes = np.bincount(targets[given.get("train", np.arange(len(targets)))], minlength=len(class_names))
    smallest = int(sizes.argmin())
    size, name = int(sizes[smallest]), class_names[smallest]
    if "test" not in given and size < 2:
        raise SettingsError(f"{name} has {size} of the two images that a class needs: one to train and one to test")
    if size < 1:
        raise SettingsError(f"{name} has no image to train on")
    train = size
    if "test" not in given and size < 2:
        raise SettingsError(f"{name} has {size} of the two images that a class needs: one to train and one to test")
    if settings.split == "per_class":
        if given:
            raise SettingsError("data.split=per_class: the images are in train/ and other parts already; leave data.split out")
        train = settings.train_per_class
        if not 1 <= train < size:
            raise SettingsError(
                f"data.train_per_class={train}: {name} has {size} images and some must be left to train and to test; "
                f"ask for 1 to {size - 1}"
            )
        if settings.test_per_class < 1:
            raise SettingsError(f"data.test_per_class={settings.test_per_class}: ask for at least 1")
    elif settings.split != "fraction":
        raise SettingsError(f"data.split={settings.split}: choose fraction or per_class")
    elif "test" not in given:
        share = settings.test_fraction
        if not 0 < share < 1 or not 0 < round(share * size) < size:
            raise SettingsError(
                f"data.test_fraction={share}: {name} has {size} images and must have some to train and some to test; "
                f"ask for a share between {1 / size:.2f} and {1 - 1 / size:.2f}"
            )
        train = size - round(share * size)
    if "val" not in given and (not 0 <= settings.val_fraction < 1 or round(settings.val_fraction * train) >= train):
        raise SettingsError(
            f"data.val_fraction={settings.val_fraction}: {name} has {train} training images and would keep none; "
            "ask for less, or 0 for no validation part"
        )


def save_split(split: Split, files: Sequence[str], folder: Path) -> None:
    """Write train.txt, val.txt and test.txt into ``folder``: one file name a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in _texts(split, files).items():
        atomic_write_text(folder / f"{part}.txt", text)


def save_skipped(skipped: Mapping[str, str], folder: Path) -> None:
    """Write skipped.txt into ``folder``, if files are left out: a line for each, with its reason."""
    if skipped:
        atomic_write_text(folder / "skipped.txt", "".join(f"{file}: {reason}\n" for file, reason in skipped.items()))


def is_saved_split(split: Split, files: Sequence[str], folder: Path) -> bool:
    """Tell whether what ``save_split`` has written into ``folder``, if anything, is this split."""
    saved = {part: folder / f"{part}.txt" for part in _texts(split, files)}
    return all(
        saved[part].read_text(encoding="utf-8") == text for part, text in _texts(split, files).items() if saved[part].is_file()
    )


def _texts(split: Split, files: Sequence[str]) -> dict[str, str]:
    return {field.name: "".join(f"{files[i]}\n" for i in getattr(split, field.name)) for field in fields(split)}
