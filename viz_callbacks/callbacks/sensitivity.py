"""Callbacks for what the network's output depends on: what is covered (Occlusion) and how the object lies (Invariance)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from viz_callbacks.callbacks.picture_folder import Picture
from viz_callbacks.callbacks.probes import ProbePictures, Probes
from viz_callbacks.callbacks.snapshot import ProbeSnapshot
from viz_callbacks.drawing import layout, sheets
from viz_callbacks.drawing.pixels import colour_labels, enlarge_field, heatmap, overlay
from viz_callbacks.engine.feature_maps import trace_up_to
from viz_callbacks.methods.invariance import Transformation, invariance
from viz_callbacks.methods.occlusion import occlusion

UNITS: dict[Transformation, str] = {"translation": "pixels down", "scale": "times as large", "rotation": "degrees"}


class OcclusionPictures(ProbePictures):
    """Per probe: how the output changes as a grey square covers each part of the image (Zeiler and Fergus's figure 7).

    The sheets show that as colours over the photograph in grey, the sprites as colours alone.

    Args:
        folder: where the pictures go: ``<probe>/epoch-001.jpg``.
        probes: the images to look at.
        square: the square's side as a share of the image's.
        stride: from place to place, as a share of the square.
        every_n_epochs: as for ``PeriodicCallback``.
        network: as for ``PeriodicCallback``.
    """

    name = "occlusion"

    def __init__(
        self,
        folder: str | Path,
        probes: Probes,
        *,
        square: float = 0.2,
        stride: float = 0.5,
        every_n_epochs: int = 1,
        network: str = "network",
    ) -> None:
        super().__init__(folder, probes, every_n_epochs=every_n_epochs, network=network)
        self.square = square
        self.stride = stride

    def draw(self, snapshot: ProbeSnapshot, epoch: int) -> Iterator[Picture]:
        """Yield one picture for each probe."""
        for number in range(len(self.probes.names)):
            yield self._picture(snapshot, number, epoch)

    def _picture(self, snapshot: ProbeSnapshot, number: int, epoch: int) -> Picture:
        image, target, last = snapshot.images[number], int(snapshot.targets[number]), snapshot.layers[-1]
        side = max(1, round(self.square * min(image.shape[1:])))
        stride = max(1, round(self.stride * side))
        found = occlusion(snapshot.network, image, target, last, side, stride)
        predicted, places = torch.unique(found.predicted, return_inverse=True)
        names = [self.probes.class_names[label] for label in predicted.tolist()]
        activation = found.activation / max(found.unoccluded.activation, 1e-12)
        original = self.probes.original(number)
        fields = [heatmap(activation), heatmap(found.probability), colour_labels(places)]
        titles = (f"{last}, map {found.map_index + 1}", "true class", "predicted class")
        margin = (side - stride) // 2
        maps = [enlarge_field(field, original.shape[0], original.shape[1], margin) for field in fields]
        overlays = [overlay(each, original, margin) for each in maps]
        lines = self.heading(snapshot, number, epoch, "Occlusion")
        lines += [
            f"a grey square of {side} pixels, {stride} apart; each value stands where the square's middle was",
            f"activation: dark is 0, yellow {found.unoccluded.activation:.3g} as in the whole image; "
            f"probability: dark is 0, yellow 1 ({found.unoccluded.probability:.2f} in the whole image)",
        ]
        return Picture(
            self.probes.folder(number),
            sheets.row_sheet(lines, [("image", original), *zip(titles, overlays, strict=True)], layout.legend(names)),
            "\n".join(lines),
            dict(zip(("activation", "probability", "labels"), maps, strict=True)),
            {},
            {
                "side": side,
                "stride": stride,
                "map": found.map_index + 1,
                "probability": [[round(value, 4) for value in row] for row in found.probability.tolist()],
                "predicted": [[names[place] for place in row] for row in places.tolist()],
            },
        )


class InvariancePictures(ProbePictures):
    """How far features move, and the true class's probability, as the probes move (Zeiler and Fergus's figure 5).

    The probes are shifted, enlarged and turned. The features are those of a low layer, the first convolution layer, and of a
    high one, the last before the output. One picture for all probes: ``all/epoch-001.jpg``.

    Args:
        folder: where the picture goes.
        probes: the images to look at.
        every_n_epochs: as for ``PeriodicCallback``.
        network: as for ``PeriodicCallback``.
    """

    name = "invariance"

    def __init__(self, folder: str | Path, probes: Probes, *, every_n_epochs: int = 1, network: str = "network") -> None:
        super().__init__(folder, probes, every_n_epochs=every_n_epochs, network=network)

    def draw(self, snapshot: ProbeSnapshot, epoch: int) -> Iterator[Picture]:
        """Yield one picture for all probes."""
        images, targets = snapshot.images, snapshot.targets
        low, high = trace_up_to(snapshot.traces, snapshot.layers[0])[-1].name, snapshot.traces[-2].name
        titles = [f"distance at {low}", f"distance at {high}", "probability of the true class"]
        rows, facts = [], dict[str, object]()
        for kind, amounts in amounts_for(min(images.shape[2:])).items():
            found = invariance(snapshot.network, images, targets, [low, high], kind, amounts)
            curves = torch.stack([found.distances[low], found.distances[high], found.probability]).cpu().numpy()
            rows.append((f"{kind} ({UNITS[kind]})", list(amounts), curves))
            facts[kind] = {
                "amounts": list(amounts),
                **{title: np.round(each.tolist(), 4).tolist() for title, each in zip(titles, curves, strict=True)},
            }
        lines = [
            f"Invariance, epoch {epoch}: how features and prediction change as the images move",
            "Euclidean distance to the features of the untouched image; what comes into view is grey",
        ]
        if unknown := [name for name, target in zip(self.probes.names, self.probes.targets, strict=True) if target < 0]:
            lines.append(f"true class unknown, the predicted one stands in for it: {', '.join(unknown)}")
        sheet = sheets.curves_sheet(lines, titles, rows, self.probes.names)
        yield Picture("all", sheet, "\n".join(lines), {}, {}, facts)


def amounts_for(side: int) -> dict[Transformation, list[float]]:
    """Return how far images of ``side`` pixels are moved: the axes of Zeiler and Fergus's figure 5, up to 60 of 224 pixels."""
    return {
        "translation": [round(step * side / 224) for step in range(-60, 61, 10)],
        "scale": [1 + step / 10 for step in range(9)],
        "rotation": list(range(0, 360, 15)),
    }
