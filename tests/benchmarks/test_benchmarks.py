"""The benchmarks run, compare like with like and write what they print. No time is asserted."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import __main__ as program
from benchmarks import devices, loop, mirror, pictures, pipeline, projections, recording, steps, transposed
from benchmarks.timing import Row, in_turns, rates
from configs import DataSettings, ModelSettings
from datamodules.datamodule import ImageDataModule
from lightning_modules.networks.layers import LocalResponseNorm
from lightning_modules.networks.registry import build_network
from tests.small_network import small_network
from viz_callbacks.engine.convolution import subpixel_transposed_convolution
from viz_callbacks.methods.unit_projection import project_units


def test_ways_take_turns_after_one_call_that_is_not_counted() -> None:
    calls: list[str] = []
    seconds = in_turns([lambda: calls.append("a"), lambda: calls.append("b")], repeats=3)
    assert calls == ["a", "b"] * 4
    assert [len(each) for each in seconds] == [3, 3]


def test_rates_are_medians_and_the_spread_is_of_turns() -> None:
    row = rates("n", ours=[1.0, 2.0, 4.0], theirs=[3.0, 2.0, 4.0], amount=8, unit="u", meaning="m")
    assert (row.ours, row.theirs, row.ratio, row.spread) == (4.0, 8 / 3, 1.0, (1.0, 3.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "zfnet"])
def test_the_plain_network_is_the_same_function(name: str) -> None:
    ours = build_network(ModelSettings(name=name, dropout=0.0), 5).to(memory_format=torch.channels_last)
    theirs = steps.plain(ours)
    assert {type(layer) for layer in theirs}.isdisjoint({LocalResponseNorm})
    images = torch.randn(2, 3, 99, 99)
    torch.testing.assert_close(theirs(images), ours(images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_step_is_measured_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (steps, loop):
        monkeypatch.setattr(module, "batch", lambda size: (torch.randn(2, 3, 99, 99), torch.tensor([0, 1])))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "alexnet_step", "loop", "--repeats", "1", "--out", str(tmp_path)])
    program.main()
    facts = json.loads((tmp_path / "benchmark.json").read_text())
    assert len(facts["rows"]) == 4
    assert all(set(row) >= {"name", "ours", "theirs", "unit", "ratio", "spread"} for row in facts["rows"])
    assert all(row["ours"] > 0 and row["theirs"] > 0 for row in facts["rows"])
    assert facts["machine"]
    assert (tmp_path / "benchmark.md").read_text().count("\n| ") == 1 + len(facts["rows"])


@pytest.mark.slow
def test_two_processes_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "batch", lambda size: (torch.randn(2, 3, 99, 99), torch.tensor([0, 1])))
    whole, gradients, number = devices.two_processes("alexnet", 1)
    assert whole.ours > 0
    assert gradients.theirs == number.theirs > number.ours > 0
    assert "235 MB" in gradients.name


def test_the_input_pipeline_and_the_pictures_are_measured(monkeypatch: pytest.MonkeyPatch, real_settings: DataSettings) -> None:
    for module in (pipeline, pictures):
        monkeypatch.setattr(module, "batch", lambda size: (torch.randn(2, 3, 99, 99), torch.tensor([0, 1])))
        monkeypatch.setattr(module, "DataSettings", lambda: real_settings)
    monkeypatch.setattr(pipeline, "BATCH", 3)
    piped = pipeline.input_pipeline(1)
    assert len(piped) == 3
    looked = {row.name.partition(": ")[2]: row for row in pictures.pictures("alexnet", 1)}
    assert {pictures.FORWARD_PASS, "deconvolution", "denet", "filters", "top_activations", "metrics", "all"} <= set(looked)
    assert looked["all"].ours == pytest.approx(sum(row.ours for name, row in looked.items() if name != "all"))
    del looked[pictures.VALIDATION_HOOKS]  # a difference of two small times may have either sign
    assert all(row.ours > 0 and row.theirs > 0 and row.spread for row in (*piped, *looked.values()))


@pytest.mark.slow
def test_projections_are_measured_and_compared_with_captums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "batch", lambda size: (torch.randn(2, 3, 99, 99), torch.tensor([0, 1])))
    monkeypatch.setattr(projections, "CAPTUM_MAPS", {"conv1": 96, "conv3": 2})
    whole, sampled = projections.projections(1)
    assert "96 maps" in whole.name
    assert "evenly" not in whole.meaning
    assert "384 maps" in sampled.name
    assert "over 2 evenly spaced maps" in sampled.meaning
    assert all(row.ours > 0 and row.theirs > 0 and row.spread for row in (whole, sampled))
    monkeypatch.setattr(projections, "project_units", lambda traces, units: 1.001 * project_units(traces, units))
    with pytest.raises(AssertionError, match="conv1: the pictures of map 1 differ"):
        projections.projections(1)


@pytest.mark.slow
def test_graphs_are_measured_and_compared_with_captums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "GRAPHS", {"resnet18": ["layer1.0.conv1"], "squeezenet1_1": ["features.3.expand3x3"]})
    monkeypatch.setattr(projections, "GRAPH_SIZE", 64)
    monkeypatch.setattr(projections, "GRAPH_MAPS", 2)
    resnet, squeezenet = projections.graphs(1)
    assert "layer1.0.conv1's 64 maps projected, resnet18, 64 px" in resnet.name
    assert "over 2 evenly spaced maps" in squeezenet.meaning
    assert all(row.ours > 0 and row.theirs > 0 and row.spread for row in (resnet, squeezenet))
    monkeypatch.setattr(projections, "project_units", lambda traces, units: 1.001 * project_units(traces, units))
    with pytest.raises(AssertionError, match=r"layer1\.0\.conv1: the pictures of map 1 differ"):
        projections.graphs(1)


def test_both_forms_of_a_transposed_convolution_are_measured_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 5, 2, 1), nn.ReLU(), nn.Conv2d(4, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3)
    )
    monkeypatch.setattr(transposed, "networks", lambda: [("It", network, 33)])
    rows = transposed.transposed_convolutions(1)
    assert [row.name for row in rows[:2]] == [
        f"It's 0: 3 to 4 maps, 5 px, stride 2, {what}" for what in ("whole maps", "boxes")
    ]
    taken = [row.meaning.split("takes the ")[1] for row in rows[::2]]
    assert taken == ["sub-pixel one", "sub-pixel one", "torch's one", "torch's one"]
    assert all(row.ours > 0 and row.theirs > 0 and row.spread for row in rows)
    form = subpixel_transposed_convolution
    monkeypatch.setattr(transposed, "subpixel_transposed_convolution", lambda conv, value: 1.1 * form(conv, value))
    with pytest.raises(AssertionError, match="not close"):
        transposed.transposed_convolutions(1)


def test_what_a_recorded_pass_keeps_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    monkeypatch.setattr(recording, "networks", lambda: [("It", network, 12)])
    kept, passes = recording.recording(1)
    assert kept.name == "traces of It, 8 images of 12 px"
    maps = 8 * 4 * 10 * 10 * 4 / 1e6  # the rectified ones, of which the flattened ones are a view
    assert kept.ours == pytest.approx(maps)
    assert kept.theirs == pytest.approx(2 * maps)
    assert passes.ours > 0
    assert passes.theirs > 0
    assert passes.spread


def test_without_captum_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "projections"])
    with pytest.raises(SystemExit):
        program.main()
    assert "pip install -e '.[test]'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_pictures_of_all_maps_are_measured(monkeypatch: pytest.MonkeyPatch, shapes: ImageDataModule) -> None:
    monkeypatch.setattr(projections, "Caltech101", lambda settings, size, seed: shapes)
    monkeypatch.setattr(projections, "build_network", lambda settings, classes: small_network(classes))
    (row,) = projections.strongest_of_all_maps(1)
    assert row.name.startswith(f"top-9 pictures of all 18 maps of AlexNet, {len(shapes.split.val)} images")
    assert row.ours > row.theirs > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", [mirror.CONTROL, "offline", "server hangs", "service stopped"])
def test_blocks_with_wandb_are_measured(case: str) -> None:
    turn = mirror.in_a_process(case, steps=2 * mirror.BLOCK, images=2)
    assert len(turn.with_wandb) == len(turn.without) == 2 * mirror.EPOCHS
    assert min(turn.with_wandb + turn.without) > 0
    assert (turn.taken > 0) == (case != mirror.CONTROL)


def test_what_wandb_costs_is_compared_block_by_block() -> None:
    turns = [mirror.Turn([1.01, 2.06], [1.0, 2.0], 0.0307), mirror.Turn([1.02], [1.0], 0.0)]
    compared, taken = mirror.rows("offline", turns)
    assert [compared.ours, compared.theirs] == pytest.approx([4.09 / 4, 1.0])
    assert compared.ratio == pytest.approx(2)
    assert compared.spread == pytest.approx(
        (2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4
    )  # 4.3027: 2 degrees of freedom
    assert [taken.ours, taken.theirs] == pytest.approx([0.0307 / 4, compared.ours])
    assert taken.ratio == pytest.approx(0.5)
    assert taken.spread == pytest.approx((0, 1))


def test_an_unknown_benchmark_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "nonsense"])
    with pytest.raises(SystemExit):
        program.main()
    assert "choose from alexnet_step" in capsys.readouterr().err


def test_a_row_without_a_spread_is_shown_too() -> None:
    written = program._markdown([Row("memory", 2.5, 5.0, "GB", 0.5, None, "of plain")], ["loop"], "here", 1)
    assert "`python -m benchmarks loop --repeats 1`" in written
    assert "2.5" in written
