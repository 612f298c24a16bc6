"""Random command lines, sweep files and other files, most of them near to good ones. Hypothesis strategies.

FAULTS_SEED chooses other random numbers, FAULTS_TIMES multiplies how many inputs are tried (docs/reliability.md).
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import yaml
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st

from configs.parser import GROUPS, preset_names
from configs.settings import fields

SEED = int(os.environ.get("FAULTS_SEED", "1"))
TIMES = float(os.environ.get("FAULTS_TIMES", "1"))
HANG = timedelta(seconds=20)

HARD_TEXTS = [
    '"', "'", "[", "]", "{", "}", "{'lr'", "%s", "@", "`", "|", ">", "-", "- a", "a: b", "? a", "!", "!!", "!!python/x",
    "!!python/object/apply:os.system [id]", "!!timestamp x", "!!int x", "!!binary x", "!!float ''", "!!bool x", "&a [*a]",
    "&a", "*a",
    "<<: 3", "{<<: [1]}", "\0", "a\0b", '"\\0"', '"\\ud800"', "\udcff", "\n", "a\nb: c", "\x1b[2J", "---", "...", "#", "",
    " ", "~",
    "null", "None", "true", "yes", "0x", "0b", "0b_", "0o7", "1:30", "1e5", "1e999", "-1e999", "inf", ".inf", "nan", ".nan",
    "-0", "1_0",
    "99999999999999999999", "9" * 400, "9" * 5000, "4294967296", "-1", "0", "1", "2.5", "1e-400", "2001-99-99", "2001-01-01",
    "${x}", "${oc.env:HOME}", '"\\x24{oc.env:HOME}"', "\\${x}", "???", "..", ".", "/", "../..", "/dev/zero", "/dev/stdin",
    "x" * 300,
    "[" * 2000, "{a: " * 500, "[1, 2", "[a, [b]]", "{a: {b: 1}}", "{1: 2}", "{[1]: 2}", "{null: 1}", "\u202e", "é", "😀",
]  # fmt: skip

KEYS = [key for key, _ in fields()]
GOOD = [
    "alexnet",
    "zfnet",
    "shapes",
    "adamw",
    "cosine",
    "64",
    "0.1",
    "[96, 128]",
    "[circle]",
    "auto",
    "ddp",
    "false",
    "null",
    "last",
]

texts = st.one_of(
    st.sampled_from(HARD_TEXTS), st.sampled_from(GOOD), st.text(max_size=12), st.integers().map(str), st.floats().map(str)
)


def mutated(of: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts with a piece replaced."""

    def replace(text: str, at: int, length: int, by: str) -> str:
        at %= len(text) + 1
        return text[:at] + by + text[at + length :]

    return st.builds(replace, of, st.integers(0, 10_000), st.integers(0, 5), texts)


keys = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from([*GROUPS, "config", "optim", "data.", ".", "a[0]", "optim[lr]", "__class__", "trainer.max_epochs.x"]),
    mutated(st.sampled_from(KEYS)),
)
presets = st.sampled_from([f"{group}={name}" for group in GROUPS for name in preset_names(group)])
words = st.one_of(
    st.builds("{}{}={}".format, st.sampled_from(["", "--"]), keys, texts),
    st.builds(
        "{}={}".format,
        st.sampled_from(["optim", "model", "viz", "data", "trainer"]),
        mutated(st.just("{'lr': 0.1, 'name': sgd}")),
    ),
    presets,
    mutated(presets),
    texts,
)
command_lines = st.lists(words, min_size=1, max_size=4)

SWEEP: dict[str, Any] = {
    "program": "train.py", "name": "n", "method": "random", "run_cap": 3, "metric": {"name": "val/loss", "goal": "minimize",
    "target": 0.1},
    "parameters": {
        "seed": {"values": [1, 2]}, "optim.lr": {"min": 0.1, "max": 0.5}, "data.batch_size": {"min": 1, "max": 64},
        "x": {"distribution": "q_log_uniform_values", "min": 1, "max": 9, "q": 2}, "y": {"values": [1, 2],
        "probabilities": [0.5, 0.5]},
        "optim": {"parameters": {"clip": {"distribution": "beta", "a": 1, "b": 2}}}, "z": {"mu": 0, "sigma": 1},
    },
    "early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2, "eta": 3},
    "command": ["${env}", "${interpreter}", "${program}", "${args}"],
}  # fmt: skip

ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2.5, 10**9, 10**30, 10**400, 1e308, float("inf"), float("nan"), "", "x", "1e-4", [], [None],
    [[1]],
    {}, {"a": 1}, {"value": 1}, {"values": []}, {"min": 0, "max": 1_000_000_000}, {"min": 0, "max": 1e-320,
    "distribution": "q_uniform"},
    {"parameters": 3}, "grid", "bayes", "uniform", "int_uniform", "beta", "inv_log_uniform", 1e-320, "\n", "x" * 400,
]  # fmt: skip


def damaged(of: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Files with up to four pieces replaced, in the header or anywhere, cut off, or followed by something."""

    def replace(content: bytes, pieces: list[tuple[float, int, bytes]], length: float) -> bytes:
        for at, old, new in pieces:
            start = int(at * len(content))
            content = content[:start] + new + content[start + old :]
        return content[: round(length * len(content))]

    place = st.one_of(st.floats(0, 1), st.floats(0, 0.1))
    piece = st.tuples(place, st.integers(0, 9), st.one_of(st.binary(max_size=9), st.sampled_from([b"\xff" * 4, bytes(4)])))
    return st.builds(replace, of, st.lists(piece, max_size=4), st.one_of(st.just(1.0), st.floats(0, 1)))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, nested in inner for each in _paths(nested, (*path, key)))]


def _replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], by)
    return copy


@st.composite
def sweep_files(draw: st.DrawFn) -> str:
    """A sweep file with one to three of its values replaced, sometimes with a piece of its text replaced too."""
    content: Any = SWEEP
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in _paths(content) if path] or [()]))
        content = _replaced(content, path, draw(st.one_of(st.sampled_from(ODD_VALUES), texts)))
    text = yaml.safe_dump(content, allow_unicode=True)
    return draw(mutated(st.just(text))) if draw(st.booleans()) else text


tried: dict[str, int] = {}
"""How many inputs each test is given; ``conftest.py`` prints it at the end."""


def number(count: int) -> int:
    """How many inputs are tried in the place of so many."""
    return max(1, round(count * TIMES))


def tries(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test on so many random inputs, none of which may take longer than HANG."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        tried[test.__name__] = number(count)
        checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
        limited = settings(max_examples=number(count), deadline=HANG, database=None, suppress_health_check=checks)
        return seed(SEED)(limited(test))

    return decorate
