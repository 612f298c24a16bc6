"""What W&B is told of a run when it begins."""

from pathlib import Path

import pytest

from configs import LoggerSettings
from experiment import loggers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("asked", "name"), [(None, "trial-003"), ("alexnet lr=0.01", "alexnet lr=0.01")])
def test_a_run_bears_its_folders_name_or_the_one_asked_for(tmp_path: Path, asked: str | None, name: str) -> None:
    folder = tmp_path / "trial-003"
    folder.mkdir()
    config = {"model.name": "alexnet", "data.name": "shapes"}
    run = loggers._init("offline", LoggerSettings(run_name=asked), folder, config)
    try:
        assert run.name == name
    finally:
        run.finish()
