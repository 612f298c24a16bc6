"""People's own photographs, from the command line: six classes of the real data set, renamed, train, sweep and show."""

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

import sweep
from configs import DataSettings
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


def train(folder: Path, *arguments: str) -> tuple[int, str]:
    """What somebody types in a folder of his own, and what comes."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments], cwd=folder, capture_output=True, text=True, timeout=800
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(photos: Path) -> Path:
    """The folder of a run."""
    here = photos.parent / "here"
    before = sorted(photos.rglob("*"))
    status, output = train(here, "model=zfnet", f"data.root={photos}", *SMALL, "name=own", "trainer.max_epochs=1")
    assert status == 0, output
    assert "photos: 6 classes" in output
    assert sorted(photos.rglob("*")) == before, "nothing is written among the photographs"
    assert len(list((here / "data/cache").glob("photos-*.npy"))) == 1
    return here / "runs/own"


def test_it_trains_and_shows_every_class(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    assert (summary["diverged"], summary["epochs"]) == (False, 1)
    assert 0 <= summary["final/test/accuracy"] <= 1
    parts = {part: (trained / f"split/{part}.txt").read_text().splitlines() for part in ("train", "val", "test")}
    assert {part: len(files) for part, files in parts.items()} == {"train": 84, "val": 12, "test": 24}
    _, class_names = load_network(trained / "checkpoints/last.ckpt")
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


def test_a_sweep_over_it_runs(photos: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.parents[1])
    monkeypatch.setenv("HOME", str(photos.parent))
    values = {"model": "zfnet", "data": "folder", "data.root": "~/photos", "data.image_size": 67, "data.train_sizes": [67],
              "data.batch_size": 16, "logger": "none", "trainer.max_epochs": 1, "viz.every_n_epochs": 0,
              "viz.sensitivity": False}  # fmt: skip
    content = {
        "program": str(ROOT / "train.py"), "name": "rates", "method": "grid",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {key: {"value": value} for key, value in values.items()} | {"optim.lr": {"values": [0.0001, 0.0004]}},
        "command": ["${interpreter}", "${program}", "${args_no_hyphens}"],
    }  # fmt: skip
    Path("rates.yaml").write_text(yaml.safe_dump(content))
    assert sweep.main(["rates.yaml"]) == 0
    with Path("runs/rates/trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["optim.lr"], row["ended"]) for row in rows] == [("0.0001", "finished"), ("0.0004", "finished")]
    assert len(list(Path("data/cache").glob("photos-*.npy"))) == 1, "all trials share one cache"


def test_it_is_fine_tuned_on_other_classes_and_looks_at_a_picture_from_elsewhere(photos: Path, trained: Path) -> None:
    here, checkpoint = trained.parents[1], trained / "checkpoints/last.ckpt"
    for name in ("dogs", "boats"):
        shutil.copytree(photos / name, here / "pair" / name)
    shutil.copy(photos / "signs/IMG 1.jpg", here / "street.jpg")
    status, output = train(
        here, "model=zfnet", "recipe=finetune", "data.root=pair", *SMALL, "name=tuned", "trainer.max_epochs=1",
        f"model.weights={checkpoint}", "optim.lr=0.00001", "viz.probes=[street.jpg,dogs]", "viz.sensitivity=false",
    )  # fmt: skip
    assert status == 0, output
    assert f"Weights from {checkpoint} (6 classes); fc8 is new, as the classes differ" in output
    (before, _), (after, class_names) = load_network(checkpoint), load_network(here / "runs/tuned/checkpoints/last.ckpt")
    assert class_names == ["boats", "dogs"]
    for layer in ("conv1", "conv5", "fc7"):
        old, new = before.get_parameter(f"{layer}.weight"), after.get_parameter(f"{layer}.weight")
        assert torch.nn.functional.cosine_similarity(old.flatten(), new.flatten(), dim=0) > 0.99
        assert not torch.equal(old, new), "it learns on"
    captions = [entry["caption"] for entry in json.loads((here / "runs/tuned/pictures/denet/index.json").read_text())["1"]]
    assert "street.jpg (not of the data set): true class unknown, the predicted one stands in for it" in captions[0]
    assert "true class dogs" in captions[1]
    contents = torch.load(checkpoint, weights_only=True)
    contents["state_dict"]["network.conv1.weight"] *= 3
    torch.save(contents, here / "strong.ckpt")
    status, output = train(here, "model=zfnet", "data.root=pair", *SMALL, "model.weights=strong.ckpt")
    assert status == 2, "by the default recipe the filters would lose the norms that they have now"
    assert output.splitlines()[-1].endswith("add recipe=finetune")


def test_a_run_is_not_resumed_on_other_photographs(photos: Path, trained: Path) -> None:
    more = photos.parent / "more/photos"
    shutil.copytree(photos, more)
    shutil.copy(photos / "signs/IMG 1.jpg", more / "signs/new.jpg")
    status, output = train(trained.parents[1], f"resume={trained}", f"data.root={more}", "trainer.max_epochs=3")
    assert status == 2
    assert output.splitlines()[-1].startswith("train.py: photos has other images than when the run began")


def test_a_mistake_is_one_line(photos: Path) -> None:
    (photos.parent / "broken/cat").mkdir(parents=True)
    (photos.parent / "broken/dog").mkdir()
    for name in ("cat", "dog"):
        (photos.parent / "broken" / name / "1.jpg").write_bytes(b"")
        for number in range(2, 8):
            shutil.copy(photos / "boats/IMG 1.webp", photos.parent / "broken" / name / f"{number}.webp")
    status, output = train(photos.parent / "elsewhere", "data.root=../broken", *SMALL)
    assert status == 2
    assert output.count("\n") == 1
    assert "2 of 14 images" in output
    assert "broken/cat/1.jpg" in output
    assert "broken/dog/1.jpg" in output
