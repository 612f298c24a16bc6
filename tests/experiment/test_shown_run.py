"""A run of sixty epochs as W&B has it: read back with W&B's own reader, and uploaded later to a stand-in for its server."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiment.dashboard import PANELS, PICTURE_FILES
from experiment.wandb_results import MISTAKES, OTHERS
from tests.wandb_server import KEY, WandbServer

ROOT = Path(__file__).parents[2]
EPOCHS = 60
# Pictures of the usual size; few images, of which most are tested, so that the table of test images is nearly full.
ARGUMENTS = ["data=shapes", "data.image_size=160", "data.train_sizes=[160]", "data.images_per_class=25", "data.batch_size=8",
             "data.test_fraction=0.85", "data.val_fraction=0.3", "data.workers=0", "logger.mode=offline", "logger.watch=true",
             "logger.log_model=last", "viz.page=false", f"trainer.max_epochs={EPOCHS}", "name=run"]  # fmt: skip
pytestmark = pytest.mark.slow


def run(environment: dict[str, str], folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a user who has no key, in a home of their own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    home = tmp_path_factory.mktemp("home")
    return clean | {"HOME": str(home), "WANDB_CONFIG_DIR": str(home), "WANDB_CACHE_DIR": str(home), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def trained(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run's folder, and what it said."""
    runs = tmp_path_factory.mktemp("runs")
    output = run(environment, runs, "tests.experiment.small_run", *ARGUMENTS, f"runs={runs}")
    return runs / "run", output


@pytest.fixture(scope="module")
def offline(trained: tuple[Path, str]) -> Path:
    """W&B's folder of the run."""
    (folder,) = (trained[0] / "wandb").glob("offline-run-*")
    return folder


@pytest.fixture(scope="module")
def records(environment: dict[str, str], offline: Path) -> list[dict[str, Any]]:
    """All that W&B has of the run, by its own reader."""
    lines = run(environment, offline.parent, "wandb", "leet", "inspect", "--json", str(offline)).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def rows(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def media_of(rows: list[dict[str, Any]]) -> set[str]:
    kinds = {name.removesuffix("._type"): row[name] for row in rows for name in row if name.endswith("._type")}
    return {name for name, kind in kinds.items() if kind != "histogram"}


def test_at_most_twenty_pictures_and_forty_curves_are_seen(records: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    media = media_of(rows)
    assert 14 <= len(media) <= 20
    assert {name.partition("/")[0] for name in media} == {"look", "results"}
    hidden = {each["metric"]["name"] for each in records if "metric" in each and each["metric"]["options"].get("hidden")}
    scalars = {name for row in rows for name, value in row.items() if isinstance(value, int | float) and "." not in name}
    seen = {name for name in scalars if not name.startswith("_")} - hidden
    assert seen == set(PANELS.values()), "and so no more than forty, by test_dashboard"
    first = sorted(name for name in scalars if not name.startswith("_"))[:5]
    assert {name.partition("/")[0] for name in first} == {"accuracy"}, "where leet opens, which knows nothing of hidden names"
    assert {"epoch", "val/accuracy", "seconds", "seconds/denet"} <= hidden & scalars
    assert not any(name.startswith("range/") for name in scalars)


def test_a_row_an_epoch_with_its_pictures_every_third(rows: list[dict[str, Any]]) -> None:
    *epochs, _ = rows
    assert [row["epoch"] for row in epochs] == list(range(1, EPOCHS + 1))
    looked = [row["epoch"] for row in epochs if "look/circle-0001.path" in row]
    assert looked == list(range(3, EPOCHS + 1, 3)) == [row["epoch"] for row in epochs if "weights/conv1.weight._type" in row]


def test_less_than_a_thousand_files_and_150_megabytes_in_the_runs_own_folder(trained: tuple[Path, str], offline: Path) -> None:
    folder, _ = trained
    kept = [file for file in (folder / "wandb").rglob("*") if file.is_file()]
    staged = list((folder / "wandb/artifacts/staging").iterdir())  # under names of W&B's
    table = [file for file in staged if file.read_bytes().startswith(b"\xff\xd8")]
    assert 100 < len(table) <= MISTAKES + OTHERS, "one for each row, and not in the user's home"
    others = len(kept) - 14 * EPOCHS // 3 - len(table)
    assert others + PICTURE_FILES + MISTAKES + OTHERS < 1000, "where a run has as many pictures and test images as it may"
    assert sum(file.stat().st_size for file in kept) < 150e6
    sheets = {file.stat().st_ino for file in (folder / "pictures").rglob("*.jpg")}
    media = list((offline / "files/media/images").rglob("*.jpg"))
    assert len(media) == 14 * EPOCHS / 3
    assert {file.stat().st_ino for file in media} <= sheets, "a picture lies on the disk once"


def test_the_summary_and_the_notes(
    records: list[dict[str, Any]], environment: dict[str, str], trained: tuple[Path, str], offline: Path
) -> None:
    output = run(environment, offline.parent, "wandb", "leet", "inspect", "--summary", "--json", str(offline))
    summary = json.loads(output)["summary"]
    assert summary["best/val_accuracy"] == summary["val/accuracy"]["max"]
    assert summary["final/test/accuracy"] == json.loads((trained[0] / "summary.json").read_text())["final/test/accuracy"]
    notes = [each["run"]["notes"] for each in records if each["type"] == "run" and "notes" in each["run"]]
    assert notes[-1].startswith(f"Test images: top-1 {100 * summary['final/test/accuracy']:.2f} %")


def test_the_first_and_the_last_words_name_the_command_that_shows_it(trained: tuple[Path, str], offline: Path) -> None:
    _, output = trained
    first = f"W&B keeps the run offline. Look at it at any time: wandb leet {offline}"
    assert output.index(first) < output.index("epoch 1/60")
    assert f"Look at it: wandb leet {offline}" in output[output.index("epoch 60/60") :]
    assert "wandb:" not in output, "nothing by W&B itself"


def test_uploaded_later_it_is_all_there(
    records: list[dict[str, Any]], environment: dict[str, str], trained: tuple[Path, str], offline: Path
) -> None:
    server = WandbServer()
    try:
        run(environment | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}, trained[0], "wandb", "sync", str(offline))
    finally:
        server.close()
    assert not server.unknown
    (known,) = (each for each in server.runs.values() if each.history)
    kept = {each.type if each.type != "run_table" else each.name.split("-")[2]: each for each in server.artifacts.values()}
    assert kept.keys() == {"resultstest_images", "resultsby_class_table", "resultsconfused_table", "dataset", "model"}
    assert all(each.committed and each.logged_by == known.name for each in kept.values())
    assert kept["model"].files["weights.ckpt"] == (trained[0] / "checkpoints/weights.ckpt").read_bytes()
    assert kept["dataset"].files["test.txt"] == (trained[0] / "split/test.txt").read_bytes()
    table = json.loads(kept["resultstest_images"].files["results/test_images.table.json"])
    assert table["columns"] == [
        "image, Deconvolution of conv5, DeNet", "truth", "prediction", "probability", "right", "file",
    ]  # fmt: skip
    assert 100 < len(table["data"]) <= 300
    right = [row[4] for row in table["data"]]
    assert right == sorted(right), "mistakes first"
    for row in table["data"]:
        assert row[4] == (row[1] == row[2])
        content = kept["resultstest_images"].files[row[0]["path"]]
        assert hashlib.sha256(content).hexdigest() == row[0]["sha256"]
