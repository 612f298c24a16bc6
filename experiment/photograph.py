"""A photograph of one's own as a run's network sees it: its pictures, laid out as a run's are, so that the page shows them."""

import json
import shutil
from pathlib import Path

import torch

from configs import SettingsError
from configs.files import atomic_write_text
from configs.parser import load_settings
from experiment.page import save_probes
from experiment.run_folder import read_metrics
from experiment.visualization import build_probes, load_run
from viz_callbacks.callbacks import DeconvolutionPictures, Probes
from viz_callbacks.callbacks.picture_folder import Picture, PictureFolder
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import robust_range, signed_picture
from viz_callbacks.engine.probabilities import class_probabilities

CLASSES = 5


def look_at_photograph(run: Path, photograph: Path, folder: Path) -> list[tuple[str, float]]:
    """Show a photograph to the last network of a run.

    Args:
        run: its folder.
        photograph: any image that can be decoded; it is resized as the test images are.
        folder: a new one, which becomes a run's folder with the pictures of this one image, and the run's own filters,
            strongest activations and figures.

    Returns:
        The five most probable classes with their probabilities.

    Raises:
        SettingsError: something of the run is missing, or the photograph can't be read.
    """
    if not photograph.is_file():
        raise SettingsError(f"{photograph}: no such file")
    network, data = load_run(run)
    settings = load_settings(run / "config.yaml")
    epoch = len(read_metrics(run)) or settings.trainer.max_epochs
    probes = build_probes(data, [str(photograph)])
    for name in ("config.yaml", "metrics.csv", "summary.json"):
        if (run / name).is_file():
            shutil.copy(run / name, folder / name)
    for kind in ("filters", "top_activations"):
        if (run / "pictures" / kind).is_dir():
            shutil.copytree(run / "pictures" / kind, folder / "pictures" / kind)
    DeconvolutionPictures(folder / "pictures/deconvolution", probes, maps=settings.viz.maps).render(network, epoch)
    with torch.inference_mode():
        snapshot = probes.snapshot(network)
        probabilities = class_probabilities(snapshot.traces[-1].layer, snapshot.logits)[0]
        shares, numbers = probabilities.topk(min(CLASSES, len(probabilities)))
        PictureFolder(folder / "pictures/denet").save(
            [_denet_picture(snapshot, probes, numbers.tolist(), shares.tolist())], epoch
        )
    predicted = [(data.class_names[number], share) for number, share in zip(numbers.tolist(), shares.tolist(), strict=True)]
    save_probes(probes, folder / "pictures/probes")
    index = folder / "pictures/probes/index.json"
    entries = json.loads(index.read_text())
    atomic_write_text(index, json.dumps([entry | {"predicted": predicted} for entry in entries], indent=1))
    return predicted


def _denet_picture(snapshot: ProbeSnapshot, probes: Probes, numbers: list[int], shares: list[float]) -> Picture:
    """Draw DeNet for several classes of the one image."""
    tiles, ranges, words = {}, {}, {}
    for rank, (number, share) in enumerate(zip(numbers, shares, strict=True), start=1):
        projection = snapshot.denet(torch.tensor([number], device=snapshot.logits.device))[0]
        name = f"denet-class-{rank}"
        words[name] = f"DeNet, {probes.class_names[number]}, {share:.1%}"
        ranges[words[name]] = robust_range(projection)
        tiles[name] = signed_picture(projection, ranges[words[name]])
    lines = [
        "DeNet for the most probable classes",
        f"{probes.names[0]}: predicted {probes.class_names[numbers[0]]} with {shares[0]:.0%}",
    ]
    sheet = sheets.row_sheet(lines, [("image", probes.original(0)), *((words[name], tile) for name, tile in tiles.items())])
    return Picture(probes.folder(0), sheet, "\n".join(lines), tiles, ranges, {"words": words})
