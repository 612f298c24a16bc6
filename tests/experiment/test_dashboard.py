"""What W&B shows of a run: names, what is hidden, which pictures, how often."""

from pathlib import Path
from typing import Any, cast

import pytest
import wandb
from PIL import Image

from configs import Settings
from experiment.dashboard import PANELS, PICTURE_FILES, PROBES, Dashboard, picture_interval
from trials.metric_names import explain_unknown_metric

SECTIONS = ["accuracy", "learned", "look", "loss", "numbers"]


class Run:
    """Keeps what W&B is told; that W&B takes it, ``test_shown_run`` shows."""

    def __init__(self) -> None:
        self.hidden: dict[str, bool] = {}
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, float] = {}

    def define_metric(self, name: str, step_metric: str | None, hidden: bool, summary: str | None) -> None:
        assert name not in self.hidden, "once is enough"
        assert (step_metric is None) == (name == "epoch")
        assert (summary == "max") == (name == "val/accuracy")
        self.hidden[name] = hidden

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


def log(dashboard: Dashboard, run: Run, row: dict[str, float], files: dict[str, tuple[Path, str]] | None = None) -> None:
    ranges = {f"range/{key}/conv1": 1.0 for key in files or {}}
    dashboard.log(cast(wandb.Run, run), row, files or {}, ranges, {})


def test_at_most_forty_panels_of_figures_that_runs_record_in_five_sections() -> None:
    assert len(PANELS) == len(set(PANELS.values())) <= 40
    assert {panel.partition("/")[0] for panel in PANELS.values()} == set(SECTIONS) - {"look"}
    assert [name for name in PANELS if explain_unknown_metric(name)] == []
    first = sorted({*PANELS, *PANELS.values()})[:5]
    assert {name.partition("/")[0] for name in first} == {"accuracy"}, "which W&B, `wandb leet` and TensorBoard show first"


def test_a_figure_keeps_its_own_name_hidden_beside_that_of_its_panel() -> None:
    run = Run()
    row = {"epoch": 1.0, "seconds": 9.0, "seconds/denet": 1.0, "val/accuracy": 0.5, "learned/conv1": 0.1, "val/top5": 1.0}
    log(Dashboard(), run, row)
    assert run.rows == [row | {"accuracy/val": 0.5}]
    assert {name for name, hidden in run.hidden.items() if not hidden} == {"accuracy/val", "learned/conv1"}


def test_all_panels_hide_housekeeping_and_what_is_there_twice() -> None:
    run = Run()
    row = {"epoch": 1.0, "seconds/denet": 1.0, "val/accuracy": 0.5, "val/top5": 1.0, "dead/conv1": 3.0}
    log(Dashboard(everything=True), run, row)
    assert {name for name, hidden in run.hidden.items() if not hidden} == {"accuracy/val", "val/top5", "learned/dead_conv1"}


def test_the_best_accuracy_is_a_plain_value_of_all_epochs_even_of_those_before_a_resume() -> None:
    run, before, resumed = Run(), Dashboard(), Dashboard()
    for accuracy, best in ((0.2, 0.2), (0.6, 0.6), (0.5, 0.6)):
        log(before, run, {"epoch": 1, "val/accuracy": accuracy})
        assert run.summary["best/val_accuracy"] == best
    run.hidden.clear()  # of a new start
    log(resumed, run, {"epoch": 4, "val/accuracy": 0.4})
    assert run.summary["best/val_accuracy"] == 0.6


@pytest.fixture
def files(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """The pictures of an epoch, of ten probes and two layers."""
    sheet = tmp_path / "sheet.jpg"
    Image.linear_gradient("L").save(sheet)
    keys = ["overview/all", "filters/conv1", "top_activations/conv1", "top_activations/conv2", "invariance/all"]
    for probe in range(10):
        keys += [f"overview/each/p{probe}", f"deconvolution/p{probe}/conv1", f"deconvolution/p{probe}/conv2", f"denet/p{probe}"]
    return {key: (sheet, "a caption") for key in keys}


def test_one_sheet_of_each_probe_and_of_each_layer_but_all_pictures_where_asked_for(
    files: dict[str, tuple[Path, str]],
) -> None:
    few = {f"look/p{probe}" for probe in range(PROBES)} | {"look/filters_conv1", "look/strongest_conv1", "look/strongest_conv2"}
    everything = files.keys() - {key for key in files if key.startswith(("overview/each", "filters", "top_activations"))}
    for dashboard, expected in ((Dashboard(), few), (Dashboard(everything=True), few | everything | {"look/p8", "look/p9"})):
        run = Run()
        log(dashboard, run, {"epoch": 1}, files)
        sent = {name for name, value in run.rows[0].items() if isinstance(value, wandb.Image)}
        assert sent == expected
        assert not any(run.hidden[name] for name in sent)
        ranges = {name: hidden for name, hidden in run.hidden.items() if name.startswith("range/")}
        assert ranges == ({f"range/{key}/conv1": True for key in files} if dashboard.everything else {})


def test_pictures_go_there_every_few_epochs_and_after_the_last(files: dict[str, tuple[Path, str]]) -> None:
    run, dashboard = Run(), Dashboard(every_n_epochs=3, last_epoch=7)
    for epoch in range(1, 8):
        log(dashboard, run, {"epoch": epoch}, files)
    assert [row["epoch"] for row in run.rows if "look/p0" in row] == [3, 6, 7]
    never = Run()
    log(Dashboard(every_n_epochs=0, last_epoch=1), never, {"epoch": 1}, files)
    assert never.rows == [{"epoch": 1}]


@pytest.mark.parametrize("epochs", [1, 10, 25, 26, 60, 64, 1000])
@pytest.mark.parametrize("every", [1, 2, 7])
@pytest.mark.parametrize(("panels", "each_epoch"), [("few", 8 + 6), ("all", 8 * 7 + 7)])
def test_a_run_of_any_length_has_so_many_pictures_at_most(epochs: int, every: int, panels: str, each_epoch: int) -> None:
    settings = Settings()
    settings.trainer.max_epochs, settings.viz.every_n_epochs, settings.logger.panels = epochs, every, panels
    interval = picture_interval(settings)
    assert interval % every == 0, "only epochs that have pictures"
    looks = len({epoch for epoch in range(1, epochs + 1) if epoch % interval == 0} | {epochs})
    assert each_epoch * looks <= PICTURE_FILES
    if interval > every:
        assert epochs / (interval - every) > PICTURE_FILES // each_epoch, "no fewer than need be"


def test_the_interval_that_is_set_is_taken() -> None:
    settings = Settings()
    settings.viz.log_every_n_epochs = 50
    assert picture_interval(settings) == 50
    settings.viz.log_every_n_epochs, settings.viz.every_n_epochs = 0, 0
    assert picture_interval(settings) == 0, "no pictures, none to send"
