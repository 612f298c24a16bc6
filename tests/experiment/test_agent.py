"""What a run is called that W&B's agent has started."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import wandb

from configs.parser import flat, parse
from experiment.agent import trial_name

ARGUMENTS = ["--model=alexnet", "--optim={'lr': 0.01}", "--data=shapes", "--seed=3", "--trainer.max_epochs=2"]
PARAMETERS: dict[str, Any] = {
    "model": {"values": ["alexnet", "zfnet"]}, "optim": {"parameters": {"lr": {"distribution": "uniform", "min": 0, "max": 1}}},
    "data": {"value": "shapes"}, "seed": {"values": [3]}, "trainer.max_epochs": {"distribution": "constant", "value": 2},
}  # fmt: skip


def named(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any] | None) -> str:
    """The name where W&B answers with these parameters of the sweep, or not at all."""
    asked = []

    class Api:
        def __init__(self, timeout: int) -> None:
            pass

        def sweep(self, path: str) -> SimpleNamespace:
            asked.append(path)
            if parameters is None:
                raise wandb.errors.CommError("no answer")
            return SimpleNamespace(config={"parameters": parameters})

    monkeypatch.setattr(wandb, "Api", Api)
    run = cast(wandb.Run, SimpleNamespace(entity="someone", project="networks"))
    name = trial_name(
        run, flat(parse(ARGUMENTS)) | {"command": "python train.py " + " ".join(f'"{word}"' for word in ARGUMENTS)}
    )
    assert asked in ([], ["someone/networks/abc"])
    return name


def test_it_is_called_by_what_its_sweep_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert named(monkeypatch, PARAMETERS) == "alexnet lr=0.01"


def test_nothing_is_said_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert named(monkeypatch, None) == ""
    assert named(monkeypatch, {"model": {"value": "alexnet"}}) == ""
    monkeypatch.delenv("WANDB_SWEEP_ID")
    assert named(monkeypatch, PARAMETERS) == ""
