"""Which images are measured on, files that stand for runs, maps that show nothing, and grids on photographs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from configs import DataSettings
from datamodules.datamodule import ImageDataModule
from datamodules.registry import build_datamodule
from tests.small_network import small_network
from tools.claims import Interval
from tools.measure import find_unseen, main, measure_together
from tools.measured_run import MeasuredRun, count_dead_maps, measure_photographs

RUN = MeasuredRun(
    run="one",
    network="alexnet",
    files=["a/1.jpg", "b/2.jpg", "c/3.jpg"],
    photographs="checksum",
    metrics={"detail/conv1": torch.tensor([0.1234567, torch.nan, -1e-7]), "grid4/conv1": torch.tensor([1.0, 2.0, 3e8])},
    dead_maps={"conv1": (2, 96)},
    grids={4: {5: Interval(1.5, 1.0, 2.0, 3, 1)}},
)


def test_images_are_those_that_no_run_was_trained_on() -> None:
    runs = []
    for seed in (1, 2):
        settings = DataSettings(name="shapes", images_per_class=10, batch_size=8, test_fraction=0.5, seed=seed)
        data = build_datamodule(settings, 67, seed=1)
        data.prepare_data()
        data.setup("fit")
        runs.append(data)
    files = find_unseen(runs, per_class=2)
    assert len(files) > 8
    for data in runs:
        assert not {data.files[i] for part in (data.split.train, data.split.val) for i in part} & set(files)
        assert [data.files[i] for i in data.find(files)] == files
    classes = [file.split("/")[0] for file in files]
    assert max(classes.count(name) for name in classes) <= 2


def test_a_stronger_grid_on_photographs_gives_a_larger_number() -> None:
    torch.manual_seed(0)
    found = measure_photographs(torch.randint(0, 200, (4, 3, 128, 128), dtype=torch.uint8))
    for by_strength in found.values():
        means = [float(values.log().mean()) for values in by_strength.values()]
        assert means == sorted(means)
        assert abs(means[0]) < 0.5 < means[-1]


def test_maps_that_no_image_lights_are_counted(shapes: ImageDataModule) -> None:
    network = small_network().eval()
    convolutions = {name: layer for name, layer in network.named_children() if isinstance(layer, nn.Conv2d)}
    for layer in convolutions.values():
        nn.init.constant_(layer.get_parameter("bias"), 10)  # or some map might be dead by chance
        nn.init.zeros_(layer.weight[1:3])  # the same everywhere
    expected = {name: (2, layer.out_channels) for name, layer in convolutions.items()}
    assert count_dead_maps(network, shapes) == expected


def test_a_run_comes_back_from_its_file(tmp_path: Path) -> None:
    RUN.save(tmp_path / "runs/one.json")
    found = MeasuredRun.load(tmp_path / "runs/one.json")
    rounded = {"detail/conv1": torch.tensor([0.123457, torch.nan, -1e-7]), "grid4/conv1": RUN.metrics["grid4/conv1"]}
    assert found.metrics.keys() == rounded.keys()
    assert all(torch.equal(found.metrics[name].nan_to_num(9), rounded[name].nan_to_num(9)) for name in rounded)
    assert replace(found, metrics=RUN.metrics) == RUN
    assert measure_together([tmp_path / "runs/one.json"] * 2, 3, 101, tmp_path)[0].files == RUN.files


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(RUN, files=["a/1.jpg", "b/2.jpg", "c/4.jpg"]), "the runs' images differ"),
        (replace(RUN, photographs="another size"), "the runs' images differ"),
        (replace(RUN, metrics={"detail/conv1": RUN.metrics["detail/conv1"]}), "the runs' numbers differ"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(other: MeasuredRun, reason: str, tmp_path: Path) -> None:
    RUN.save(tmp_path / "one.json")
    other.save(tmp_path / "other.json")
    with pytest.raises(ValueError, match=reason):
        measure_together([tmp_path / "one.json", tmp_path / "other.json"], 3, 101, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '"metrics"', '{"metrics": []}', json.dumps({"metrics": {}, "claims": []})])
def test_a_file_that_is_none_of_a_run_is_one_line(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "measures.json").write_text(text)
    monkeypatch.setattr("sys.argv", ["measure", str(tmp_path / "measures.json"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "measures.json: not what tools.measure writes of a run (" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_two_runs_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "a/run"), "--versus", str(tmp_path / "b/run"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["measure", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "two runs are called run: rename the folder of one" in capsys.readouterr().err


def test_a_file_that_stands_for_a_run_is_not_overwritten_by_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "out/runs/one.json"
    RUN.save(kept)
    before = kept.read_bytes()
    monkeypatch.setattr("sys.argv", ["measure", str(kept), "--versus", str(tmp_path / "one"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "one.json stands for a run, and another of its name would take its place" in capsys.readouterr().err
    assert kept.read_bytes() == before
