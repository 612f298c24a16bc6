"""People's own photographs, from the command line: six classes of the real data set, renamed, train, sweep and show.

All of it runs as processes of a bare clone. Trainings and sweeps are started in it, what shows them is started elsewhere.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw

from configs import DataSettings
from configs.parser import load_settings
from datamodules.caltech101.files import ANNOTATIONS, image_folder
from datamodules.caltech101.masks import read_polygon
from experiment.run_folder import read_rows
from lightning_modules.checkpoints import load_network

ROOT = Path(__file__).parents[2]
NAMES = {
    "Leopards": "big cats",
    "sunflower": "flowers",
    "pagoda": "towers",
    "stop_sign": "signs",
    "dalmatian": "dogs",
    "ketch": "boats",
}
EACH = 20
SMALL = ["data=folder", "data.image_size=67", "data.train_sizes=[67]", "data.batch_size=16", "logger=none", "runs=runs"]


@pytest.fixture(scope="module")
def photos(real_settings: DataSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six folders of twenty photographs in three formats, the cats with masks, among what a Mac and a notebook leave."""
    archives = Path(real_settings.archives) if real_settings.archives else None
    source, root = image_folder(Path(real_settings.root), archives), tmp_path_factory.mktemp("own") / "photos"
    for position, (category, name) in enumerate(NAMES.items()):
        (root / name / ".ipynb_checkpoints").mkdir(parents=True)
        for number in range(1, EACH + 1):
            original, end = source / category / f"image_{number:04d}.jpg", ("jpg", "png", "webp")[position % 3]
            if end == "jpg":
                shutil.copy(original, root / name / f"IMG {number}.jpg")
            else:
                Image.open(original).save(root / name / f"IMG {number}.{end}")
        (root / name / "._IMG 1.jpg").write_bytes(b"resource fork")
        shutil.copy(original, root / name / ".ipynb_checkpoints/IMG 1.jpg")
    (root / "masks/big cats").mkdir(parents=True)
    for number in range(1, EACH + 1):
        file = f"Leopards/image_{number:04d}.jpg"
        mask = Image.new("L", Image.open(source / file).size)
        corners = read_polygon(source.with_name(ANNOTATIONS), file)
        ImageDraw.Draw(mask).polygon([(x, y) for x, y in corners], fill=255)
        mask.save(root / f"masks/big cats/IMG {number}.png")
    return root


@pytest.fixture(scope="module")
def clone(photos: Path) -> Path:
    """The project's files beside the photographs: no data, no runs, nothing that was built."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        made = {"build", "data", "dist", "results", "runs", "site", "wandb"} if Path(folder) == ROOT else set()
        return made | {name for name in names if name.startswith(".") or name in ("__pycache__", "tests")}

    shutil.copytree(ROOT, photos.parent / "clone", ignore=left_out)
    return photos.parent / "clone"


def process(folder: Path, *command: str | Path) -> tuple[int, str]:
    """What somebody types in a folder, and what comes."""
    folder.mkdir(exist_ok=True)
    home = os.environ | {"HOME": str(folder.parent)}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=home, capture_output=True, text=True, timeout=800)
    return done.returncode, done.stdout + done.stderr


def train(clone: Path, *arguments: str) -> tuple[int, str]:
    return process(clone, "train.py", *arguments)


@pytest.fixture(scope="module")
def trained(clone: Path, photos: Path) -> Path:
    """The folder of a run."""
    before = sorted(photos.rglob("*"))
    status, output = train(clone, "model=zfnet", *SMALL, "data.root=../photos", "name=own", "trainer.max_epochs=1")
    assert status == 0, output
    assert "photos: 6 classes" in output
    assert sorted(photos.rglob("*")) == before, "nothing is written among the photographs"
    assert len(list((clone / "data/cache").glob("photos-*.npy"))) == 1
    return clone / "runs/own"


def test_it_trains_and_shows_every_class(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    assert (summary["diverged"], summary["epochs"]) == (False, 1)
    assert 0 <= summary["final/test/accuracy"] <= 1
    parts = {part: (trained / f"split/{part}.txt").read_text().splitlines() for part in ("train", "val", "test")}
    assert {part: len(files) for part, files in parts.items()} == {"train": 84, "val": 12, "test": 24}
    assert os.listdir(trained / "checkpoints") == ["weights.ckpt"], "one file stays"
    _, class_names = load_network(trained)
    assert class_names == sorted(NAMES.values())
    probes = os.listdir(trained / "pictures/denet")
    assert len([name for name in probes if name != "index.json"]) == 8
    assert {name.split("-IMG")[0] for name in probes if name != "index.json"} == set(NAMES.values())
    for kind, count in (("deconvolution", 8 * 5), ("denet", 8), ("filters", 1), ("occlusion", 8), ("invariance", 1)):
        sheets = list((trained / "pictures" / kind).rglob("epoch-001.jpg"))
        assert len(sheets) == count, kind
        assert all(np.asarray(Image.open(sheet)).std() > 10 for sheet in sheets), "a picture is blank"
    rows = read_rows(trained / "metrics.csv")
    assert len(rows) == 1
    assert 0 < rows[-1]["inside/conv5"] < 1, "measured within the masks"


def test_its_page_is_made_anew_and_shows_a_photograph_from_elsewhere(clone: Path, trained: Path, photos: Path) -> None:
    elsewhere = photos.parent / "elsewhere"
    status, output = process(elsewhere, clone / "page.py", trained, "--out", "own.html")
    assert status == 0, output
    page = (elsewhere / "own.html").read_text()
    assert all(name in page for name in NAMES.values())
    assert 'src="pictures/' not in page, "it holds them itself"
    shutil.copy(photos / "signs/IMG 1.jpg", elsewhere / "street.jpg")
    status, output = process(elsewhere, clone / "page.py", trained, "--image", "street.jpg")
    assert status == 0, output
    lines = output.splitlines()
    named = {line.strip().split(maxsplit=1)[1] for line in lines[-6:-1]}
    assert named < set(NAMES.values()), "the five most probable classes"
    assert lines[-1] == f"Open {trained / 'photographs/street.html'}"
    assert "denet-class-5" in (trained / "photographs/street.html").read_text()


def test_a_photograph_through_it_is_one_picture(clone: Path, trained: Path, photos: Path) -> None:
    elsewhere = photos.parent / "elsewhere"
    photograph = photos / "boats/IMG 2.webp"
    status, output = process(elsewhere, clone / "look.py", photograph, "--run", trained, "--classes", "boats")
    assert status == 0, output
    assert "5 convolution layers (conv1 ... conv5), 6 classes; images of 3 x 67 x 67" in output
    with Image.open(elsewhere / "IMG 2-seen.png") as picture:
        assert np.asarray(picture).std() > 10


def test_its_record_is_kept_without_the_place_of_the_photographs(clone: Path, trained: Path) -> None:
    status, output = process(clone, "-m", "tools.archive_run", "runs/own", "results/own")
    assert status == 0, output
    kept = clone / "results/own"
    assert load_settings(kept / "config.yaml").data.root == str(Path("photos").absolute()), "below wherever one is"
    assert "root: photos\n" in (kept / "config.yaml").read_text()
    assert (kept / "confusion.csv").read_text() == (trained / "confusion.csv").read_text()
    with (clone / "results/runs.csv").open(newline="") as table:
        assert [(row["model"], row["epochs"]) for row in csv.DictReader(table)] == [("zfnet", "1")]


def test_a_sweep_over_it_runs_and_shows(clone: Path, trained: Path) -> None:
    values = {"model": "zfnet", "data.image_size": 67, "data.train_sizes": [67], "data.batch_size": 16, "logger": "none",
              "trainer.max_epochs": 1, "viz.every_n_epochs": 0, "viz.sensitivity": False}  # fmt: skip
    content = {
        "program": "train.py", "name": "rates", "method": "grid",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {key: {"value": value} for key, value in values.items()} | {"optim.lr": {"values": [0.0001, 0.0004]}},
        "command": ["${interpreter}", "${program}", "${args_no_hyphens}"],
    }  # fmt: skip
    (clone / "rates.yaml").write_text(yaml.safe_dump(content))
    status, output = process(clone, "sweep.py", "rates.yaml", "data=folder", "data.root=~/photos")
    assert status == 0, output
    with (clone / "runs/rates/trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["optim.lr"], row["ended"]) for row in rows] == [("0.0001", "finished"), ("0.0004", "finished")]
    assert len(list((clone / "data/cache").glob("photos-*.npy"))) == 1, "all trials share one cache"
    status, output = process(clone.parent / "elsewhere", clone / "page.py", clone / "runs/rates", "--out", "rates.html")
    assert status == 0, output
    page = (clone.parent / "elsewhere/rates.html").read_text()
    assert "trial-000" in page
    assert "trial-001" in page


def test_it_is_fine_tuned_on_other_classes_and_looks_at_a_picture_from_elsewhere(
    clone: Path, photos: Path, trained: Path
) -> None:
    checkpoint = trained / "checkpoints/weights.ckpt"
    for name in ("dogs", "boats"):
        shutil.copytree(photos / name, clone / "pair" / name)
    shutil.copy(photos / "signs/IMG 1.jpg", clone / "street.jpg")
    status, output = train(
        clone, "model=zfnet", "recipe=finetune", "data.root=pair", *SMALL, "name=tuned", "trainer.max_epochs=1",
        f"model.weights={trained}", "optim.lr=0.00001", "viz.probes=[street.jpg,dogs]", "viz.sensitivity=false",
    )  # fmt: skip
    assert status == 0, output
    assert f"Weights from {checkpoint} (6 classes); fc8 is new, as the classes differ" in output
    (before, _), (after, class_names) = load_network(checkpoint), load_network(clone / "runs/tuned")
    assert class_names == ["boats", "dogs"]
    for layer in ("conv1", "conv5", "fc7"):
        old, new = before.get_parameter(f"{layer}.weight"), after.get_parameter(f"{layer}.weight")
        assert torch.nn.functional.cosine_similarity(old.flatten(), new.flatten(), dim=0) > 0.99
        assert not torch.equal(old, new), "it learns on"
    captions = [entry["caption"] for entry in json.loads((clone / "runs/tuned/pictures/denet/index.json").read_text())["1"]]
    assert "street.jpg (not of the data set): true class unknown, the predicted one stands in for it" in captions[0]
    assert "true class dogs" in captions[1]
    contents = torch.load(checkpoint, weights_only=True)
    contents["state_dict"]["network.conv1.weight"] += 0.1
    torch.save(contents, clone / "bright.ckpt")
    status, output = train(clone, "model=zfnet", "data.root=pair", *SMALL, "model.weights=bright.ckpt")
    assert status == 2, "by the default recipe the filters would lose the means that they have now"
    assert output.splitlines()[-1].endswith("add recipe=finetune")


def test_a_run_is_not_resumed_on_other_photographs(clone: Path, photos: Path, trained: Path) -> None:
    more = photos.parent / "more/photos"
    shutil.copytree(photos, more)
    shutil.copy(photos / "signs/IMG 1.jpg", more / "signs/new.jpg")
    words = [*SMALL, "data.root=../photos", "name=longer", "trainer.max_epochs=1", "trainer.keep=all"]
    assert train(clone, *words)[0] == 0
    status, output = train(clone, f"resume={trained.with_name('longer')}", f"data.root={more}", "trainer.max_epochs=3")
    assert status == 2
    assert output.splitlines()[-1].startswith("train.py: photos has other images than when the run began")


def test_a_mistake_is_one_line(clone: Path, photos: Path) -> None:
    (photos.parent / "broken/cat").mkdir(parents=True)
    (photos.parent / "broken/dog").mkdir()
    for name in ("cat", "dog"):
        (photos.parent / "broken" / name / "1.jpg").write_bytes(b"")
        for number in range(2, 8):
            shutil.copy(photos / "boats/IMG 1.webp", photos.parent / "broken" / name / f"{number}.webp")
    status, output = train(clone, "data.root=../broken", *SMALL)
    assert status == 2
    assert output.count("\n") == 1
    assert "2 of 14 images" in output
    assert "broken/cat/1.jpg" in output
    assert "broken/dog/1.jpg" in output
    status, output = train(clone, "data.root=../photos")
    assert status == 2
    assert output.count("\n") == 1
    assert output.endswith(
        "Caltech-101: set data.root to another folder, into which the whole data set is unpacked or downloaded\n"
    )
    assert "data.root=../photos: has images in big cats, boats, dogs and others, and no 101_ObjectCategories;" in output
    assert not (photos / "101_ObjectCategories").exists()
