"""Make a workspace of runs in W&B: ``python -m tools.workspace RUN [RUN ...]``.

W&B makes a panel of each figure by itself, in the order of their names. This saves a view of the runs' project beside that, in
the order in which people look, with the epoch as x axis and the pictures of all named runs. It needs the extra ``workspace``, a
key and W&B's server. Each call adds a view; earlier ones stay, and can be deleted in W&B.

``wandb-workspaces`` can't say by which key the slider of pictures steps. So all probes share one panel, and the layers another,
since a panel has one slider; that it steps by ``epoch`` is set in W&B, at *Media settings*.
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from configs import SettingsError
from configs.parser import load_settings
from experiment.dashboard import PANELS, Dashboard
from experiment.wandb_service import ask
from viz_callbacks.callbacks.picture_folder import PictureFolder

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

NAME = "What each layer sees"
FIGURES = {"accuracy": True, "loss": True, "learned": True, "numbers": False}
"""Sections of curves, in their order, and whether they are open."""

BARS = {"by_class": ("class", "accuracy"), "confused": ("true, predicted", "images")}
"""Of results/: the columns of their tables, as ``experiment/wandb_results.py`` names them."""


def picture_panels(runs: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Return W&B's names of the pictures in folders of runs: those of single images, and those of layers."""
    images, layers = dict[str, None](), dict[str, None]()  # each name once, in order
    for run in runs:
        for kind, panels in (("overview", images), ("filters", layers), ("top_activations", layers)):
            entries = [entry for epoch in PictureFolder(run / "pictures" / kind).index().values() for entry in epoch]
            shown = Dashboard().pictures({f"{kind}/{entry['place']}": None for entry in entries})
            panels |= dict.fromkeys(shown.values())
    return list(images), list(layers)


def build_workspace(entity: str, project: str, name: str, images: list[str], layers: list[str]) -> "ws.Workspace":
    """Build a workspace, which its ``save`` sends to W&B.

    Args:
        entity: whose project it is.
        project: of the runs.
        name: of the view.
        images: W&B's names of pictures that show single images.
        layers: of those that show layers.
    """
    import wandb_workspaces.reports.v2.interface as wr  # here, as it may not be installed
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(
            name=section,
            panels=[
                wr.LinePlot(title=panel, x="epoch", y=[panel]) for panel in PANELS.values() if panel.startswith(f"{section}/")
            ],
            is_open=is_open,
            panel_settings=ws.SectionPanelSettings(x_axis="epoch"),
        )
        for section, is_open in FIGURES.items()
    ]
    look = [
        wr.MediaBrowser(title=title, media_keys=keys, num_columns=1)
        for title, keys in (("Each image through all layers", images), ("Filters and strongest activations", layers))
        if keys
    ]
    bars = [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": f"results/{chart}_table"}},
            chart_name="wandb/bar/v0",
            chart_fields={"label": label, "value": value},
            chart_strings={"title": f"results/{chart}"},
        )
        for chart, (label, value) in BARS.items()
    ]
    table = wr.WeavePanelSummaryTable(table_name="results/test_images")
    layout = ws.SectionLayoutSettings(columns=2, rows=1)
    sections[3:3] = [ws.Section(name="look", panels=[*look], is_open=True, layout_settings=layout)]  # before the numbers
    sections += [ws.Section(name="results", panels=[*bars, table], is_open=True)]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="epoch", group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(pinned_columns=["summary:best/val_accuracy", "summary:final/test/accuracy"]),
    )


def save_workspace(runs: list[Path], name: str) -> str:
    """Save a workspace for the runs of these folders in their project. Returns its address.

    Raises:
        SettingsError: it can't be saved, and why.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise SettingsError("wandb-workspaces is not installed; pip install -e '.[workspace]'")
    places = {
        (settings.logger.entity, settings.logger.project) for settings in (load_settings(run / "config.yaml") for run in runs)
    }
    if len(places) > 1:
        raise SettingsError(
            f"runs of several projects: {', '.join(sorted(project for _, project in places))}; name those of one"
        )
    ((entity, project),) = places
    images, layers = picture_panels(runs)

    def send() -> str:
        import wandb  # here, as it takes a second

        wandb.setup(wandb.Settings(silent=True))
        owner = entity or wandb.Api().default_entity
        workspace = build_workspace(str(owner), project, name, images, layers)
        workspace.save()  # type: ignore[no-untyped-call]  # W&B gives it no types
        return str(workspace.url)

    try:
        return ask(send)
    except Exception as problem:  # W&B promises no type: its own errors, its service's, its server's
        raise SettingsError(f"W&B: {str(problem).strip().splitlines()[0]}") from problem


def main(arguments: list[str]) -> int:
    """Save the workspace that the command line asks for.

    Returns:
        The exit status: 0 done, 2 where it can't be saved.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tools.workspace", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="the folder of a run that is in W&B")
    parser.add_argument("--name", default=NAME, help=f"of the view [default: {NAME}]")
    options = parser.parse_args(arguments)
    try:
        print(f"Open {save_workspace(options.runs, options.name)}")
    except SettingsError as mistake:
        print(f"tools.workspace: {mistake}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
