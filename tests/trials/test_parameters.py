"""Each of W&B's distributions against numpy's own random numbers, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from scipy import stats

from trials.parameters import Choice, Number, WeightedChoice, parse_parameter

Draw = Callable[[np.random.Generator], Any]


@pytest.mark.parametrize(
    ("entry", "draw"),
    [
        ({"min": -1.0, "max": 3.0}, lambda g: g.uniform(-1, 3, 4000)),
        ({"distribution": "log_uniform", "min": -3, "max": 2}, lambda g: np.exp(g.uniform(-3, 2, 4000))),
        (
            {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
            lambda g: np.exp(g.uniform(np.log(1e-4), 0, 4000)),
        ),
        (
            {"distribution": "inv_log_uniform_values", "min": 0.1, "max": 10},
            lambda g: 1 / np.exp(g.uniform(np.log(0.1), np.log(10), 4000)),
        ),
        ({"mu": 2, "sigma": 3}, lambda g: g.normal(2, 3, 4000)),
        ({"distribution": "log_normal", "mu": 0, "sigma": 0.5}, lambda g: g.lognormal(0, 0.5, 4000)),
        ({"distribution": "beta", "a": 2, "b": 5}, lambda g: g.beta(2, 5, 4000)),
    ],
)
def test_continuous_numbers_are_distributed_as_numpys(entry: dict[str, Any], draw: Draw) -> None:
    parameter = parse_parameter(entry, grid=False)
    assert isinstance(parameter, Number)
    generator = np.random.default_rng(0)
    found = [parameter.at(u) for u in generator.uniform(size=4000)]
    assert stats.ks_2samp(found, draw(generator)).pvalue > 0.01


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ({"min": 2, "max": 5}, {2, 3, 4, 5}),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, {0, 0.25, 0.5, 0.75, 1}),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 64, "q": 32}, {0, 32, 64}),
    ],
)
def test_stepped_numbers_take_each_step_and_nothing_else(entry: dict[str, Any], values: set[float]) -> None:
    parameter = parse_parameter(entry, grid=False)
    assert isinstance(parameter, Number)
    found = [parameter.at(u) for u in np.linspace(0, 1, 1001)]
    assert set(found) == values
    assert found == sorted(found)


def test_whole_numbers_are_equally_likely() -> None:
    parameter = parse_parameter({"min": 1, "max": 4}, grid=False)
    assert isinstance(parameter, Number)
    counts = np.unique([parameter.at(u) for u in np.linspace(0.0005, 0.9995, 1000)], return_counts=True)[1]
    assert np.ptp(counts) <= 2


def test_weighted_values_come_as_often_as_they_weigh() -> None:
    parameter = parse_parameter({"values": ["a", "b", "c"], "probabilities": [0.7, 0.1, 0.2]}, grid=False)
    assert isinstance(parameter, WeightedChoice)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [parameter.suggest(study.ask(), "letter") for _ in range(400)]
    assert [found.count(letter) / 400 for letter in "abc"] == pytest.approx([0.7, 0.1, 0.2], abs=0.06)


def test_values_may_be_anything() -> None:
    parameter = parse_parameter({"values": [None, [112, 128], True, "relu"]}, grid=True)
    assert isinstance(parameter, Choice)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert {repr(parameter.suggest(study.ask(), "key")) for _ in range(60)} == {"None", "[112, 128]", "True", "'relu'"}
    assert parse_parameter({"value": 3}, grid=True) == Choice((3,))


def test_a_grid_counts_whole_numbers_and_steps() -> None:
    assert parse_parameter({"min": 2, "max": 4}, grid=True) == Choice((2, 3, 4))
    assert parse_parameter({"distribution": "q_uniform", "min": 0, "max": 0.3, "q": 0.1}, grid=True) == Choice(
        (0, 0.1, 0.2, 0.3)
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "needs value, values, min and max"),
        ({"values": []}, "at least one value"),
        ({"min": 1.0, "max": 0.5}, "must be below max"),
        ({"min": 1, "max": 2, "vlaue": 3}, "vlaue doesn't belong"),
        ({"value": 1, "values": [1]}, "values doesn't belong beside value"),
        ({"distribution": "cauchy", "min": 0, "max": 1}, "no distribution cauchy"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "no values between"),
        ({"distribution": "log_uniform_values", "min": "1e-4", "max": 1}, "write 0.0001"),
        ({"distribution": "beta", "a": 2}, "needs a and b"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q must be above 0"),
        ({"values": [1, 2], "probabilities": [1]}, "as many as values"),
    ],
)
def test_the_error_says_what_is_wrong(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_parameter(entry, grid=False)


def test_a_grid_of_all_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="method: random takes the rest"):
        parse_parameter({"min": 0.0, "max": 1.0}, grid=True)
