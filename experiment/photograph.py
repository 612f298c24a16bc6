"""A photograph of one's own as a run's network sees it: its pictures, laid out as a run's are, so that the page shows them.

It is looked at through the same lens as by ``look.py``.
"""

import json
import shutil
from pathlib import Path

import torch

from configs import SettingsError
from configs.files import atomic_write_text
from configs.parser import load_settings
from experiment.lenses import lens_of_run
from experiment.page import save_probes
from experiment.run_folder import read_metrics
from viz_callbacks.callbacks import DeconvolutionPictures, Probes
from viz_callbacks.callbacks.picture_folder import Picture, PictureFolder
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import robust_range, signed_picture
from viz_callbacks.lens.seen import Prediction, Seen


def look_at_photograph(run: Path, photograph: Path, folder: Path) -> list[Prediction]:
    """Show a photograph to the last network of a run.

    Args:
        run: its folder.
        photograph: any image that can be decoded; it is stretched to a square as the test images are.
        folder: a new one, which becomes a run's folder with the pictures of this one image, and the run's own filters,
            strongest activations and figures.

    Returns:
        The five most probable classes.

    Raises:
        SettingsError: something of the run is missing, or the photograph can't be read.
    """
    lens = lens_of_run(run)
    settings = load_settings(run / "config.yaml")
    epoch = len(read_metrics(run)) or settings.trainer.max_epochs
    for name in ("config.yaml", "metrics.csv", "summary.json"):
        if (run / name).is_file():
            shutil.copy(run / name, folder / name)
    for kind in ("filters", "top_activations"):
        if (run / "pictures" / kind).is_dir():
            shutil.copytree(run / "pictures" / kind, folder / "pictures" / kind)
    try:
        seen = lens(photograph)
    except (OSError, ValueError) as problem:  # those of the lens say what is wrong
        raise SettingsError(" ".join(str(problem).split())) from problem
    probes = Probes(
        names=[photograph.name],
        images=lens.input.normalise(seen.pictures),
        pictures=seen.pictures,
        targets=torch.tensor([-1]),
        class_names=list(seen.class_names),
        notes=["not of the data set"],
    )
    DeconvolutionPictures(folder / "pictures/deconvolution", probes, maps=settings.viz.maps).render(lens.network, epoch)
    PictureFolder(folder / "pictures/denet").save([_denet_picture(seen, probes)], epoch)
    save_probes(probes, folder / "pictures/probes")
    (predicted,) = seen.predictions
    index = folder / "pictures/probes/index.json"
    entries = json.loads(index.read_text())
    atomic_write_text(index, json.dumps([entry | {"predicted": predicted} for entry in entries], indent=1))
    return predicted


def _denet_picture(seen: Seen, probes: Probes) -> Picture:
    """Draw DeNet for the most probable classes of the one photograph."""
    (predicted,) = seen.predictions
    projections = seen.denet([each.class_name for each in predicted]).tensor[0]
    tiles, ranges, words = {}, {}, {}
    for rank, (each, projection) in enumerate(zip(predicted, projections, strict=True), start=1):
        name = f"denet-class-{rank}"
        words[name] = f"DeNet, {each}"
        ranges[words[name]] = robust_range(projection)
        tiles[name] = signed_picture(projection, ranges[words[name]])
    lines = ["DeNet for the most probable classes", f"{probes.names[0]}: predicted {predicted[0]}"]
    sheet = sheets.row_sheet(lines, [("image", probes.original(0)), *((words[name], tile) for name, tile in tiles.items())])
    return Picture(probes.folder(0), sheet, "\n".join(lines), tiles, ranges, {"words": words})
