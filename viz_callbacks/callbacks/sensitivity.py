"""Callbacks for what the network's answer depends on: what is covered (Occlusion) and how the object lies (Invariance)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from viz_callbacks.callbacks.base import Picture
from viz_callbacks.callbacks.probes import ProbePictures, Probes
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import framed, heat, label_colours
from viz_callbacks.engine.feature_maps import convolution_layers, trace_up_to
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.methods.invariance import Kind, invariance
from viz_callbacks.methods.occlusion import occlusion

UNITS: dict[Kind, str] = {"translation": "pixels down", "scale": "times as large", "rotation": "degrees"}


class OcclusionPictures(ProbePictures):
    """Per probe: how the answer changes as a grey square covers each part of the image (Zeiler and Fergus's figure 7).

    ``square``: its side as a share of the image's. ``stride``: from place to place, as a share of the square.
    """

    name = "occlusion"

    def __init__(self, folder: Path, probes: Probes, square: float = 0.2, stride: float = 0.5, **when: Any) -> None:
        super().__init__(folder, probes, **when)
        self.square = square
        self.stride = stride

    def pictures(self, traces: list[LayerTrace], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """One picture for each probe."""
        images = traces[0].input
        size = min(images.shape[2:])
        side = max(1, round(self.square * size))
        stride = max(1, round(self.stride * side))
        last = convolution_layers(network)[-1]
        for number, (image, target) in enumerate(zip(images, self.probes.targets.tolist(), strict=True)):
            found = occlusion(network, image, target, last, side, stride)
            taken_for, places = torch.unique(found.predicted, return_inverse=True)
            names = [self.probes.class_names[label] for label in taken_for.tolist()]
            activation = found.activation / max(found.whole[2], 1e-12)
            original = self.probes.original(number)
            fields = [heat(activation), heat(found.probability), label_colours(places)]
            names_of_fields = (f"{last}, map {found.map + 1}", "true class", "taken for")
            maps = [framed(field, original.shape[0], original.shape[1], (side - stride) // 2) for field in fields]
            tiles = {"image": original, **dict(zip(names_of_fields, maps, strict=True))}
            lines = self.heading(traces, number, epoch, "Occlusion")
            lines += [
                f"a grey square of {side} pixels, {stride} apart; each value stands where the square's middle was",
                f"activation: dark is 0, yellow {found.whole[2]:.3g} as in the whole image; probability: dark is 0, yellow 1 "
                f"({found.whole[0]:.2f} in the whole image)",
            ]
            sheet = sheets.row_sheet(lines, list(tiles.items()), sheets.legend(names))
            facts = {
                "side": side,
                "stride": stride,
                "map": found.map + 1,
                "probability": [[round(value, 4) for value in row] for row in found.probability.tolist()],
                "taken_for": [[names[place] for place in row] for row in places.tolist()],
            }
            sprites = dict(zip(("activation", "probability", "labels"), maps, strict=True))
            yield Picture(self.probes.folder(number), sheet, "\n".join(lines), sprites, {}, facts)


class InvariancePictures(ProbePictures):
    """How far the features of a low and a high layer move, and the true class's probability, as the probes are shifted,
    enlarged and turned (Zeiler and Fergus's figure 5).

    The low layer is the first convolution layer, the high one the last before the output.
    """

    name = "invariance"

    def pictures(self, traces: list[LayerTrace], network: nn.Module, epoch: int) -> Iterator[Picture]:
        """One picture for all probes."""
        images, targets = traces[0].input, self.probes.targets.to(traces[0].input.device)
        low, high = trace_up_to(traces, convolution_layers(network)[0])[-1].name, traces[-2].name
        titles = [f"distance at {low}", f"distance at {high}", "probability of the true class"]
        rows, facts = [], dict[str, Any]()
        for kind, amounts in amounts_for(min(images.shape[2:])).items():
            found = invariance(network, images, targets, [low, high], kind, amounts)
            curves = torch.stack([found.distances[low], found.distances[high], found.probability])
            rows.append((f"{kind} ({UNITS[kind]})", list(amounts), curves.cpu().numpy()))
            facts[kind] = {
                "amounts": list(amounts),
                **{title: np.round(each.tolist(), 4).tolist() for title, each in zip(titles, curves.cpu(), strict=True)},
            }
        lines = [
            f"Invariance, epoch {epoch}: how features and answer move as the images do",
            "Euclidean distance to the features of the untouched image; what comes into view is grey",
        ]
        sheet = sheets.curves_sheet(lines, titles, rows, self.probes.names)
        yield Picture("all", sheet, "\n".join(lines), {}, {}, facts)


def amounts_for(side: int) -> dict[Kind, list[float]]:
    """How much images of ``side`` pixels are changed: the axes of Zeiler and Fergus's figure 5, 60 of 224 pixels at most."""
    return {
        "translation": [round(step * side / 224) for step in range(-60, 61, 10)],
        "scale": [1 + step / 10 for step in range(9)],
        "rotation": list(range(0, 360, 15)),
    }
