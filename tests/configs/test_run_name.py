"""Runs that are shown beside each other are called by what varies."""

from configs.run_name import name_by_what_varies


def test_runs_are_called_by_what_varies() -> None:
    values = {"model": "alexnet", "optim.lr": 0.01, "seed": 3, "model.name": "zfnet", "optim.name": "sgd"}
    assert name_by_what_varies(values, ["model", "optim.lr"]) == "alexnet lr=0.01"
    assert name_by_what_varies(values, ["seed", "model.name", "optim.name"]) == "seed=3 model.name=zfnet optim.name=sgd"
    assert name_by_what_varies(values, []) == ""
    assert len(name_by_what_varies({"a": "x" * 500}, ["a"])) == 128
