"""Loss and accuracy over epochs, as in the report's Figures 6 to 8."""

from pathlib import Path

from matplotlib.figure import Figure

from configs.files import atomic_write
from viz_callbacks.drawing import palette

COLOURS = {"train": palette.BLUE, "val": palette.GREY, "test": palette.VERMILLION}


def save_curves(rows: list[dict[str, float]], file: Path, title: str) -> None:
    """Draw loss and accuracy of the parts train, val and test over epochs into a PNG file."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title, parse_math=False)
    loss, accuracy = figure.subplots(1, 2)
    for axes, name, unit in ((loss, "loss", 1.0), (accuracy, "accuracy", 100.0)):
        for part, colour in COLOURS.items():
            points = [(row["epoch"], unit * row[f"{part}/{name}"]) for row in rows if f"{part}/{name}" in row]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker=".", label=part)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    loss.set_ylabel("cross-entropy (nats)")
    accuracy.set_ylabel("top-1 accuracy (%)")
    accuracy.set_ylim(0, 100)
    with atomic_write(file) as stream:
        figure.savefig(stream, format="png", dpi=110)
