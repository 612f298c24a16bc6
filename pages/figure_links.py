"""Where the page shows what the report's Figures 6 to 13 do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pages.claims import CURVES, DENET, link_to_picture
from pages.figures import FIGURES
from pages.run_data import NETWORKS, RunData


@dataclass(frozen=True)
class FigureLink:
    """One figure of the report.

    Attributes:
        number: its own.
        what: it shows.
        link: the state of the page that shows the same of these runs; empty where none does.
        lacking: what that would take, where there is no link.
    """

    number: int
    what: str
    link: str
    lacking: str


def link_figures(
    runs: Sequence[RunData],
    layers: Sequence[str],
    probes: Sequence[Mapping[str, str]],
    pictures: Sequence[Mapping[str, Any]],
) -> list[FigureLink]:
    """Return the figures in their order; ``layers``, ``probes`` and ``pictures`` as ``link_to_picture`` takes them."""
    with_layers = [found for found in pictures if found["deconvolution"]]
    with_denet = [found for found in pictures if found["denet"]]
    denet = link_to_picture(DENET, layers, probes, with_denet) if with_denet else ""
    beside = link_to_picture(layers[-1], layers, probes, with_layers) if layers and denet else ""
    diverged = any(run.diverged and run.rows for run in runs)
    found = [
        FigureLink(6, "a training that diverges", f"s={CURVES}" if diverged else "", "a run that diverged"),
        FigureLink(9, "an image as the networks see it", "s=layers" if probes else "", "a run with pictures"),
        FigureLink(12, "DeNet", denet, "a run with DeNet"),
        FigureLink(13, "DeNet beside Deconvolution of the last layer", beside, "a run with both"),
    ]
    for name, numbers in FIGURES.items():
        of_network = [run.settings["model"]["name"] == name for run in runs]
        trained = any(right and run.rows and not run.diverged for right, run in zip(of_network, runs, strict=True))
        own = [found for right, found in zip(of_network, pictures, strict=True) if right and found["deconvolution"]]
        maps = link_to_picture(layers[0], layers, probes, own) if own else ""
        needed = f"a run of {NETWORKS[name]}"
        found += [
            FigureLink(numbers.curves, f"{NETWORKS[name]}'s accuracy and loss", f"s={CURVES}" if trained else "", needed),
            FigureLink(numbers.pictures, f"maps and projections of {NETWORKS[name]}", maps, f"{needed} with pictures"),
        ]
    return sorted(found, key=lambda each: each.number)
