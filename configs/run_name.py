"""What a run is called where several are shown beside each other: by what varies among them."""

from collections.abc import Mapping, Sequence

from configs.parser import GROUPS

LONGEST_NAME = 128  # characters: W&B's limit


def name_by_what_varies(values: Mapping[str, object], varied: Sequence[str]) -> str:
    """Return the name of a run by the values of its varied keys: ``alexnet lr=0.01``. Empty where nothing varies.

    A group's preset stands for itself, other values behind the last part of their key, or all of it where two end alike.
    """
    last = {key: key.rpartition(".")[2] for key in varied}
    words = []
    for key in varied:
        name = last[key] if list(last.values()).count(last[key]) == 1 else key
        words.append(str(values.get(key)) if key in GROUPS else f"{name}={values.get(key)}")
    return " ".join(words)[:LONGEST_NAME]
