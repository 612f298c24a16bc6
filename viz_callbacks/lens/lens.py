"""``Lens``: what a network sees in a photograph, in one line.

>>> import numpy as np
>>> from torch import nn
>>> network = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8 * 49, 2))
>>> lens = Lens(network, class_names=["cat", "dog"], mean=[0.5] * 3, std=[0.5] * 3)
>>> lens
Lens on a Sequential: 1 convolution layer (0), 2 classes; images of 3 x 32 x 32, mean and std given
>>> seen = lens(np.zeros((60, 40, 3), np.uint8))
>>> seen.deconvolution("0")
Deconvolution of 0: .tensor (1, 3, 32, 32); .show(), .save(file)
"""

from collections.abc import Sequence

from torch import nn

from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.tracing import unwrapped
from viz_callbacks.lens.network_input import find_class_names, find_input
from viz_callbacks.lens.photographs import InputFormat, Photograph, as_list, name_of
from viz_callbacks.lens.seen import Seen


class Lens:
    """Looks at photographs through a network.

    Args:
        network: any that ``record`` can follow, on any device, in any mode; it is left as it is.
        class_names: of its outputs [default: ImageNet's for torchvision's and timm's of 1000 classes, else numbers].
        size: side of the square that photographs become, in pixels [default: found out, see ``find_input``].
        mean: of each channel, for values from 0 to 1 [default: ImageNet's, or the network's own where it says so].
        std: of each channel, likewise.
        stretch: a photograph's shape is stretched to the square, instead of its sides being cut off.

    Raises:
        UntraceableError: the network can't be followed.
        ValueError: as ``find_input`` does, or there are not as many names as classes.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        class_names: Sequence[str] | None = None,
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        stretch: bool = False,
    ) -> None:
        self.network = unwrapped(network)
        self.input: InputFormat = find_input(self.network, size, mean, std, stretch)
        self.layers: list[str] = convolution_layers(self.network)
        self._given_names = class_names

    def __call__(self, photographs: Photograph | Sequence[Photograph]) -> Seen:
        """Look at one photograph or several: files, Pillow images, arrays or tensors (``photographs.Photograph``).

        Raises:
            OSError: a file is missing or no image.
            ValueError: something is no photograph, or there are not as many class names as classes.
            RecordingError: as ``record`` does.
        """
        several = as_list(photographs)
        pictures, images = self.input.prepare(several)
        traces = record(self.network, images.to(next(self.network.parameters())))
        names = [name_of(each, number) for number, each in enumerate(several)]
        output = traces[-1].output
        class_names = self._class_names(output.shape[1]) if output.ndim == 2 else []
        words = f"{type(self.network).__name__}, images with mean and std {self.input.origin}"
        return Seen(names, pictures, traces, self.layers, class_names, words)

    def __repr__(self) -> str:
        first_to_last = self.layers[0] if len(self.layers) == 1 else f"{self.layers[0]} ... {self.layers[-1]}"
        plural = "" if len(self.layers) == 1 else "s"
        classes = f"{len(self._given_names)} classes; " if self._given_names else ""
        side, words = self.input.size, f"mean and std {self.input.origin}"
        return (
            f"Lens on a {type(self.network).__name__}: {len(self.layers)} convolution layer{plural} ({first_to_last}), "
            f"{classes}images of {self.input.channels} x {side} x {side}, {words}"
        )

    def _class_names(self, classes: int) -> list[str]:
        if self._given_names is None:
            return find_class_names(self.network, classes)
        if len(self._given_names) != classes:
            raise ValueError(f"class_names holds {len(self._given_names)} names; the network has {classes} classes.")
        return list(self._given_names)
