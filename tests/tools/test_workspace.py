"""A workspace as W&B's own library sends it to a stand-in for its server. That W&B shows it so, only its server could tell."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image

from configs import Settings
from configs.parser import save_settings
from experiment.dashboard import PANELS
from experiment.wandb_results import Results, send_results
from tests.wandb_server import ENTITY, KEY, WandbServer
from tools.workspace import BARS, main
from viz_callbacks.callbacks.picture_folder import Picture, PictureFolder

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]


@pytest.fixture
def server() -> Iterator[WandbServer]:
    server = WandbServer()
    yield server
    server.close()


def make_run(folder: Path, probes: list[str], project: str = "looks", entity: str | None = None) -> Path:
    """The folder of a run of two epochs, with what the tool reads."""
    settings = Settings()
    settings.logger.project, settings.logger.entity = project, entity
    folder.mkdir()
    save_settings(settings, folder / "config.yaml")
    places = {
        "overview": ["all", *(f"each/{probe}" for probe in probes)],
        "filters": ["conv1"],
        "top_activations": ["conv1", "conv2"],
        "denet": probes,  # which is no panel
    }
    for kind, names in places.items():
        for epoch in (1, 2):
            pictures = [Picture(name, Image.new("RGB", (8, 8)), "", {}, {}, {}) for name in names]
            PictureFolder(folder / "pictures" / kind).save(pictures, epoch)
    return folder


def save(server: WandbServer, home: Path, *arguments: Path | str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start the tool as a user who is logged in at the stand-in."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    own = {"HOME": str(home), "WANDB_CONFIG_DIR": str(home), "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
    command = [sys.executable, "-m", "tools.workspace", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=clean | own | variables, capture_output=True, text=True, timeout=400)


def results_of_a_run(folder: Path) -> Json:
    """What a run logs to W&B after its last epoch."""
    run = mock.Mock(offline=True, id="x")
    send_results(run, "", Results([("cat", 0.5)], [("cat", "dog", 3)], [], "conv5", ("shapes", folder), None))
    content: Json = run.log.call_args.args[0]
    return content


@pytest.mark.slow
def test_the_view_has_what_runs_log_in_the_order_in_which_people_look(server: WandbServer, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", ["circle", "star"]), make_run(tmp_path / "b", ["star", "my cat"])]
    done = save(server, tmp_path, *runs, "--name", "Shapes")
    assert done.returncode == 0, done.stderr
    (view,) = server.views
    address = view["name"].removeprefix("nw-").removesuffix("-v")
    assert (done.stdout, done.stderr) == (f"Open {server.url}/{ENTITY}/looks?nw={address}\n", "")
    assert (view["entityName"], view["projectName"], view["displayName"]) == (ENTITY, "looks", "Shapes")
    assert not server.unknown
    section: Json = json.loads(view["spec"])["section"]
    assert section["settings"]["xAxis"] == "epoch"
    sections = {each["name"]: each for each in section["panelBankConfig"]["sections"]}
    assert list(sections) == ["accuracy", "loss", "learned", "look", "numbers", "results"]
    assert [name for name, each in sections.items() if not each["isOpen"]] == ["numbers"]
    curves = {name: sections[name]["panels"] for name in sections if name not in ("look", "results")}
    for name, panels in curves.items():
        for panel in panels:
            assert (panel["viewType"], panel["config"]["xAxis"]) == ("Run History Line Plot", "epoch")
            assert [each.partition("/")[0] for each in panel["config"]["metrics"]] == [name]
    shown = [metric for panels in curves.values() for panel in panels for metric in panel["config"]["metrics"]]
    assert sorted(shown) == sorted(PANELS.values())
    assert [panel["config"]["mediaKeys"] for panel in sections["look"]["panels"]] == [
        ["look/circle", "look/star", "look/my cat"],
        ["look/filters_conv1", "look/strongest_conv1", "look/strongest_conv2"],
    ]
    assert {panel["viewType"] for panel in sections["look"]["panels"]} == {"Media Browser"}
    pinned = section["runSets"][0]["runFeed"]["columnPinned"]
    assert {"summary:best/val_accuracy", "summary:final/test/accuracy"} <= pinned.keys()
    *bars, table = sections["results"]["panels"]
    assert "results/test_images" in json.dumps(table)
    logged = results_of_a_run(tmp_path)
    for (name, columns), bar in zip(BARS.items(), bars, strict=True):
        chart = logged[f"results/{name}"]
        assert (bar["viewType"], bar["config"]["panelDefId"]) == ("Vega2", chart.spec.spec_name)
        assert chart.table.columns == list(columns)
        assert bar["config"]["fieldSettings"] == chart.spec.fields
        assert f'"results/{name}_table"' in json.dumps(bar["config"]["userQuery"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "fault", "answer"),
    [
        ({"WANDB_API_KEY": ""}, None, "W&B: No API key configured. Use `wandb login` to log in."),
        ({"WANDB_BASE_URL": "http://127.0.0.1:9"}, None, "W&B: Failed to verify credentials with http://127.0.0.1:9"),
        ({}, "401", "W&B: Failed to verify credentials with"),
        ({}, "html", "W&B: Failed to verify credentials with"),
    ],
)
def test_without_a_key_or_an_answer_it_is_one_line(
    variables: dict[str, str], fault: str | None, answer: str, server: WandbServer, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", ["star"])
    server.fault = fault
    done = save(server, tmp_path, run, **variables)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    stalled = "W&B: no answer after 120 s\n"  # where the machine is that busy
    assert done.stderr.startswith((f"tools.workspace: {answer}", f"tools.workspace: {stalled}"))


def test_without_the_extra_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", ["star"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([str(run)]) == 2
    assert capsys.readouterr() == (
        "", "tools.workspace: wandb-workspaces is not installed; pip install -e '.[workspace]'\n"
    )  # fmt: skip


def test_runs_that_have_no_common_workspace_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / name, ["star"], project=name) for name in ("b", "a")]
    assert main([*map(str, runs)]) == 2
    assert capsys.readouterr() == ("", "tools.workspace: runs of several projects: a, b; name those of one\n")
    assert main([str(tmp_path / "nowhere")]) == 2
    output = capsys.readouterr()
    assert (output.out, len(output.err.splitlines())) == ("", 1)
    assert "nowhere" in output.err
