"""Signal 9 at named points of a run, several times, then resumed: the same as one that was left alone, to the last bit.

32 kills, of one process, of two that train together and of a run with W&B; 122 by
``FAULTS_TIMES=4 python -m pytest tests/faults/test_kills.py``, others by another ``FAULTS_SEED``.
"""

import os
import random
from pathlib import Path

import pytest

from lightning_modules.checkpoints import read_checkpoint
from tests.faults.kill_chain import KINDS, TINY, Kill, assert_same, assert_same_record, random_kills, run_chain, start

SEED = int(os.environ.get("FAULTS_SEED", "1"))
TIMES = int(os.environ.get("FAULTS_TIMES", "1"))
CHAINS = [
    (kind, number)
    for kind, count in {"alone": 6, "two processes": 2, "W&B offline": 2}.items()
    for number in range(count * TIMES)
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs by kind, made when they are first asked for."""
    return {"": tmp_path_factory.mktemp("undisturbed")}


def reference(kind: str, undisturbed: dict[str, Path]) -> Path:
    if kind not in undisturbed:
        runs = undisturbed[""] / kind
        status, output = start(*TINY, *KINDS[kind], f"runs={runs}", "name=run")
        assert status == 0, output
        undisturbed[kind] = runs / "run"
    return undisturbed[kind]


def check(kind: str, kills: list[Kill], undisturbed: dict[str, Path], tmp_path: Path) -> None:
    print(f"FAULTS_SEED={SEED}: {kind}, killed at {kills}")
    run_chain(tmp_path / "run", [*TINY, *KINDS[kind]], kills)
    assert_same_record(reference(kind, undisturbed), tmp_path / "run")


def test_a_run_killed_in_a_checkpoint_and_after_one_is_the_same(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    check("alone", [("half a checkpoint", 2), ("after checkpoint", 1)], undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), CHAINS)
def test_a_run_killed_three_times_is_the_same(kind: str, number: int, undisturbed: dict[str, Path], tmp_path: Path) -> None:
    kills = random_kills(random.Random(f"{SEED} {kind} {number}"), kind)
    check(kind, kills, undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["after summary", "before kept weights", "after kept weights"])
def test_a_run_killed_as_it_gives_its_states_away_ends_the_same(
    point: str, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    """Until the weights alone are on the disk the run can be resumed; then they are those of the last epoch."""
    run_chain(tmp_path / "run", [*TINY, "logger=none", "trainer.keep=last"], [(point, 1)])
    kept = tmp_path / "run/checkpoints"
    assert os.listdir(kept) == ["weights.ckpt"]
    whole = read_checkpoint(reference("alone", undisturbed) / "checkpoints/last.ckpt")
    assert_same(read_checkpoint(kept / "weights.ckpt")["state_dict"], whole["state_dict"], "weights")


@pytest.mark.slow
def test_a_point_that_is_not_passed_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"the kill at \('after checkpoint', 4\) did not land"):
        run_chain(tmp_path / "run", [*TINY, "logger=none"], [("after checkpoint", 4)])
