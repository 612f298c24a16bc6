"""A training among broken images, from the command line to its last line."""

from pathlib import Path

import pytest

from experiment.run_folder import read_rows
from tests.datamodules.photographs import numbered, write
from tests.datamodules.test_check import break_files
from tests.experiment.test_train import run


@pytest.mark.slow
def test_a_whole_training_goes_on_without_broken_images_and_names_them(tmp_path: Path) -> None:
    root, folder = tmp_path / "photos", tmp_path / "runs/run"
    write(root, *numbered("cat", 12), *numbered("dog", 12))
    reasons = break_files(root)
    words = ["data=folder", f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}", "data.image_size=67",
             "data.train_sizes=[67]", "data.batch_size=4", "logger=none", "viz.sensitivity=false", "trainer.max_epochs=2",
             "optim.lr=0.00003", f"runs={folder.parent}", "name=run"]  # fmt: skip
    status, output = run(*words)
    assert status == 2, output
    assert "can't be read" in output
    assert not folder.parent.exists()

    status, output = run(*words, "data.skip_broken=true")
    assert status == 0, output
    assert "data.skip_broken: 6 images are left out: cat/00.jpg (it is no image of a known format)" in output
    assert (folder / "split/skipped.txt").read_text() == "".join(f"{file}: {why}\n" for file, why in reasons.items())
    parts = [(folder / f"split/{part}.txt").read_text().splitlines() for part in ("train", "val", "test")]
    assert sorted(file for part in parts for file in part) == [*numbered("cat", 12)[3:], *numbered("dog", 12)[4:]]
    assert [row["epoch"] for row in read_rows(folder / "metrics.csv")] == [1, 2]
    assert (folder / "summary.json").exists()
