"""Several processes train what one would: figures, weights and images, in float64 to rounding; and Lightning's refusals."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs import Settings, SettingsError
from configs.parser import parse
from experiment.distributed import trainer_options
from experiment.run_folder import read_rows

PROGRAM = Path(__file__).with_name("several_processes.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``64-true-2`` and so on: precision and number of processes."""
    folder = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(("precision", "tolerance"), [("64-true", 1e-12), ("32-true", 2e-6)])
def test_the_weights_are_those_of_one_process(trained: Path, processes: int, precision: str, tolerance: float) -> None:
    alone = torch.load(trained / f"{precision}-1/weights-0.pt")
    for rank in range(processes):
        shared = torch.load(trained / f"{precision}-{processes}/weights-{rank}.pt")
        assert alone.keys() == shared.keys()
        for name, weights in alone.items():
            if weights.is_floating_point():
                assert (weights - shared[name]).abs().max() <= tolerance * weights.abs().max(), name


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_the_figures_are_those_of_one_process(trained: Path, processes: int) -> None:
    """Of each epoch and of the end: nothing counted twice, though three can't share the test images evenly."""
    one, others = (trained / f"64-true-{number}" for number in (1, processes))
    rows = [read_rows(each / "metrics.csv") for each in (one, others)]
    assert len(rows[0]) == 2
    for alone, shared in zip(*rows, strict=True):
        assert alone.keys() == shared.keys()
        assert {"train/loss", "val/accuracy", "test/mean_per_class", "detail/conv1"} <= alone.keys()
        for name, value in alone.items():
            if "seconds" not in name:
                assert shared[name] == pytest.approx(value, rel=2e-6), name  # six digits are written
    final = [json.loads((each / "final.json").read_text()) for each in (one, others)]
    final = [{name: value for name, value in each.items() if name.startswith("final/")} for each in final]
    assert final[0].keys() == final[1].keys()
    assert len(final[0]) == 8
    for name, value in final[0].items():
        assert final[1][name] == pytest.approx(value, rel=1e-6, abs=0), name
    assert all(final[0][name] == final[1][name] for name in final[0] if "loss" not in name), "counts are counts"


@pytest.mark.slow
def test_each_process_sees_other_images_and_together_those_of_one(trained: Path) -> None:
    alone = json.loads((trained / "64-true-1/seen-0.json").read_text())
    shares = [json.loads((trained / f"64-true-3/seen-{rank}.json").read_text()) for rank in range(3)]
    assert len(set(alone)) == len(alone) == 144, "two epochs of three batches of 24, each image augmented anew"
    assert [len(share) for share in shares] == [48] * 3
    assert sorted(itertools.chain(*shares)) == sorted(alone)


@pytest.mark.slow
def test_pictures_are_made_once_and_are_those_of_one_process(trained: Path) -> None:
    pictures = [
        {file.relative_to(each): file.read_bytes() for file in each.rglob("epoch-*")}
        for each in (trained / "64-true-1", trained / "64-true-2")
    ]
    assert len(pictures[0]) > 10
    assert pictures[0] == pictures[1]


def settings(*arguments: str) -> Settings:
    return parse(["data=shapes", "trainer.accelerator=cpu", *arguments])


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["trainer.strategy=telepathy"], "trainer.strategy=telepathy: choose one of auto, ddp"),
        (["trainer.devices=0"], "trainer.devices=0 .*not a valid input"),
        (["trainer.devices=some"], "trainer.devices=some: it must be"),
        (["trainer.devices=2", "model.norm=batch"], "model.norm=batch: .*use one process, or GPUs"),
    ],
)
def test_devices_that_cant_be_had_are_one_line(arguments: list[str], answer: str) -> None:
    with pytest.raises(SettingsError, match=answer) as refusal:
        trainer_options(settings(*arguments), "32-true")
    assert "\n" not in str(refusal.value)


def test_devices_and_machines_multiply() -> None:
    options, trainer = trainer_options(settings("trainer.devices=3", "trainer.num_nodes=2", "trainer.strategy=ddp"), "32-true")
    assert (trainer.world_size, trainer.is_global_zero, options["strategy"]) == (6, True, "ddp")
