"""What a network makes of photographs: predictions, and projections of its layers and classes to the pixels."""

import difflib
import operator
from collections.abc import Sequence
from functools import cached_property, partial
from typing import NamedTuple, SupportsIndex

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from viz_callbacks.drawing.pixels import Pixels, magnify, picture_of, robust_range, signed_picture
from viz_callbacks.drawing.sheets import table_sheet
from viz_callbacks.engine.backward import blocked_layers
from viz_callbacks.engine.feature_maps import feature_maps, open_layers
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.probabilities import class_probabilities
from viz_callbacks.lens.projection import Projection, Showable
from viz_callbacks.methods.deconvolution import deconvolution, one_map, strongest_activation
from viz_callbacks.methods.denet import denet

Class = str | SupportsIndex
"""A class by its name, or by its number: an int, or what numpy and torch have for one."""

AT_MOST = 8
"""Layers in the picture of all layers; of more, so many are shown, evenly spaced."""


class Prediction(NamedTuple):
    """A class and its probability, 0 to 1."""

    class_name: str
    probability: float

    def __repr__(self) -> str:
        return f"{self.class_name} {self.probability:.1%}"


class Seen(Showable):
    """What a network makes of some photographs. Its picture shows all layers at one glance.

    Attributes:
        names: of the photographs.
        pictures: the photographs as people see them, (N, C, H, W) uint8.
        traces: the recorded forward pass, for the functions of ``viz_callbacks.methods``.
        layers: the names of the convolution layers.
        class_names: none where the network's output isn't (N, classes).
        words: on the network, for the picture.
    """

    def __init__(
        self,
        names: Sequence[str],
        pictures: Tensor,
        traces: Sequence[LayerTrace],
        layers: Sequence[str],
        class_names: Sequence[str],
        words: str,
    ) -> None:
        self.names = names
        self.pictures = pictures
        self.traces = traces
        self.layers = layers
        self.class_names = class_names
        self.words = words

    @property
    def logits(self) -> Tensor:
        """The network's output."""
        return self.traces[-1].output

    @cached_property
    def _open(self) -> tuple[list[str], str]:
        return open_layers(self.traces)

    @property
    def left_out(self) -> str:
        """Words on what can't be projected to the pixels, and why; '' where all can."""
        return self._open[1]

    @cached_property
    def predictions(self) -> list[list[Prediction]]:
        """For each photograph the five most probable classes, the first one first; none without classes."""
        if not self.class_names:
            return [[] for _ in self.names]
        probabilities = class_probabilities(self.traces[-1].layer, self.logits).topk(min(5, len(self.class_names)))
        return [
            [Prediction(self.class_names[number], value) for value, number in zip(values, numbers, strict=True)]
            for values, numbers in zip(probabilities.values.tolist(), probabilities.indices.tolist(), strict=True)
        ]

    def deconvolution(self, layer: str, unit: int | None = None) -> Projection:
        """Project a layer's maps to the pixels: all together, or one. Zeiler and Fergus 2014, section 2.1.

        Args:
            layer: one of ``layers``.
            unit: the number of one map, from 0; None for all.

        Raises:
            ValueError: there is no such layer or map.
            UnknownLayerError: a layer below has no backward rule.
        """
        if unit is None:
            return self._one_each(deconvolution(self.traces, layer), f"Deconvolution of {layer}", layer)
        maps = feature_maps(self.traces, layer).shape[1]
        if not 0 <= unit < maps:
            raise ValueError(f"{layer} has maps 0 to {maps - 1}, not {unit}.")
        values = deconvolution(self.traces, layer, partial(one_map, k=unit))
        return self._one_each(values, f"Deconvolution of map {unit} of {layer}", f"map {unit}")

    def top_maps(self, layer: str, count: int = 9) -> Projection:
        """Project the strongest activation of each of the maps that each photograph excites most, the first one first.

        Args:
            layer: one of ``layers``.
            count: how many maps of each photograph; all where it has fewer.

        Returns:
            Of tensor (N, K, C, H, W) for K maps.

        Raises:
            ValueError: there is no such layer, or ``count`` is less than 1.
            UnknownLayerError: a layer below has no backward rule.
        """
        if count < 1:
            raise ValueError(f"count must be 1 or more, not {count}.")
        maps = feature_maps(self.traces, layer)
        strongest = maps.amax((2, 3)).topk(min(count, maps.shape[1])).indices  # (N, K)
        values = [deconvolution(self.traces, layer, partial(strongest_activation, k=k)) for k in strongest.unbind(1)]
        labels = [[f"map {number}" for number in numbers] for numbers in strongest.tolist()]
        title = f"Strongest activations of {layer}"
        return Projection(torch.stack(values, 1), title, labels, self.names, self.pictures)

    def denet(self, classes: Class | Sequence[Class] | None = None, *, subtract_bias: bool = True) -> Projection:
        """Project classes through all layers to the pixels: DeNet, section 7 of the report.

        Args:
            classes: a name or number, one or several; None for the most probable class of each photograph.
            subtract_bias: as for ``denet``.

        Returns:
            Of tensor (N, C, H, W), or (N, K, C, H, W) for several classes.

        Raises:
            ValueError: there is no such class, or none is named; or the network's output isn't (N, classes).
            UnknownLayerError: a layer has no backward rule.
        """
        if self.logits.ndim != 2:
            raise ValueError(f"DeNet needs a last output (N, classes); this network's is {tuple(self.logits.shape)}.")
        title = "DeNet" if subtract_bias else "DeNet without biases"
        if classes is None:
            best = self.logits.argmax(1)
            labels = [[self.class_names[number]] for number in best.tolist()]
            values = denet(self.traces, best, subtract_bias=subtract_bias)
            return Projection(values, f"{title} of the most probable class", labels, self.names, self.pictures)
        single = isinstance(classes, str | SupportsIndex)
        numbers = [self.class_number(each) for each in ([classes] if isinstance(classes, str | SupportsIndex) else classes)]
        if not numbers:
            raise ValueError("Name at least one class.")
        each = [denet(self.traces, self._all(number), subtract_bias=subtract_bias) for number in numbers]
        names = [self.class_names[number] for number in numbers]
        values = each[0] if single else torch.stack(each, 1)
        return Projection(values, f"{title} of {', '.join(names)}", [names] * len(self.names), self.names, self.pictures)

    def class_number(self, wanted: Class) -> int:
        """Return the number of a class by its name, in any case, or by its number. Raises ValueError where there is none.

        Of classes that differ in case alone, the one that is spelled as asked for. Digits that are no name are a number.
        """
        if not isinstance(wanted, str):
            number = operator.index(wanted)
            if 0 <= number < len(self.class_names):
                return number
            raise ValueError(f"Classes must lie in 0 ... {len(self.class_names) - 1}, not {number}.")
        if wanted in self.class_names:
            return self.class_names.index(wanted)
        if wanted.isdecimal():
            return self.class_number(int(wanted))
        lower = [name.lower() for name in self.class_names]
        if wanted.lower() in lower:
            return lower.index(wanted.lower())
        close = difflib.get_close_matches(wanted.lower(), lower, 3, 0.5)
        near = [name for name in self.class_names if wanted.lower() in name.lower()][:3] or [
            self.class_names[lower.index(name)] for name in close
        ]
        raise ValueError(f"There is no class {wanted!r}." + (f" Did you mean {' or '.join(near)}?" if near else ""))

    def picture(self, layers: str | Sequence[str] | None = None, classes: Class | Sequence[Class] | None = None) -> Image.Image:
        """Draw the photographs through layers and classes, a row each: Deconvolution of each layer, then DeNet.

        Args:
            layers: one or some of ``layers`` [default: all, or ``AT_MOST`` evenly spaced, of those that have a way back].
            classes: as for ``denet`` [default: the most probable one of each photograph; none without classes or a way back].

        Raises:
            ValueError: there is no such layer or class.
            UnknownLayerError: there is no way back from a layer or class that is named.
        """
        with_way_back, left_out = self._open
        chosen = (
            evenly_chosen(with_way_back, AT_MOST) if layers is None else [layers] if isinstance(layers, str) else list(layers)
        )
        projections = [self.deconvolution(layer) for layer in chosen]
        if classes is not None:
            several = [classes] if isinstance(classes, str | SupportsIndex) else classes
            projections += [self.denet(each) for each in several]
        elif self.class_names and self.traces[-1].name not in blocked_layers(self.traces):
            projections += [self.denet(), self.denet(subtract_bias=False)]
        columns = [
            "image",
            *chosen,
            *(each.title.removesuffix(" of the most probable class") for each in projections[len(chosen) :]),
        ]
        rows = []
        for number, name in enumerate(self.names):
            tiles: list[Pixels] = [magnify(picture_of(self.pictures[number]))]
            for each in projections:
                values = each.tensor[number]
                tiles.append(magnify(signed_picture(values, robust_range(values))))
            rows.append((f"{name}: {self.predictions[number]}" if self.predictions[number] else name, tiles))
        then = ", then DeNet" if len(projections) > len(chosen) else ""
        lines = [
            f"{self.words}; grey is 0, each tile has its own scale",
            f"Deconvolution of {len(chosen)} of {len(self.layers)} convolution layers{then}",
        ]
        if left_out and layers is None and classes is None:
            lines.append(f"{left_out.partition('. ')[0]}.")
        return table_sheet(lines, columns, rows)

    @property
    def image(self) -> Image.Image:
        """The picture of all layers."""
        return self.picture()

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {shown}" for name, shown in zip(self.names, self.predictions, strict=True))

    def _one_each(self, values: Tensor, title: str, label: str) -> Projection:
        return Projection(values, title, [[label]] * len(self.names), self.names, self.pictures)

    def _all(self, number: int) -> Tensor:
        return torch.full((len(self.names),), number, device=self.logits.device)


def evenly_chosen(layers: Sequence[str], at_most: int) -> list[str]:
    """Return so many layers, evenly spaced from the first to the last; all where there are no more.

    >>> evenly_chosen(["a", "b", "c", "d", "e"], 3)
    ['a', 'c', 'e']
    """
    if len(layers) <= at_most:
        return list(layers)
    return [layers[round(place)] for place in np.linspace(0, len(layers) - 1, at_most)]
