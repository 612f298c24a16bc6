"""Photographs of any kind, as people see them and as a network takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from viz_callbacks.lens.image_files import as_people_see_it, open_image

Photograph = str | Path | Image.Image | NDArray[Any] | Tensor
"""A file; a Pillow image; an array (H, W) or (H, W, C) of uint8, or of floats from 0 to 1; a tensor (C, H, W) of uint8, or of
floats as the network takes them, already normalised."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's name for pictures of so many channels."""


@dataclass(frozen=True)
class InputFormat:
    """How a network takes its images.

    Attributes:
        channels: of the images.
        size: side of the square in pixels.
        mean: of each channel, or one for all, for values from 0 to 1; subtracted first.
        std: divides then.
        stretch: a photograph's shape is stretched to the square, instead of its sides being cut off.
        origin: words on where mean and std are from.
    """

    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stretch: bool = False
    origin: str = "given"

    def picture(self, photograph: Photograph) -> Tensor:
        """Return a photograph as people see it: (channels, size, size) uint8, upright.

        Raises:
            OSError: the file is missing or no image whose values have a range.
            ValueError: another kind of image, array or tensor; or a photograph for a network of other than 1 or 3 channels.
        """
        if self.channels not in MODES:
            raise ValueError(f"This network takes {self.channels} channels: give tensors (C, H, W) as it takes them.")
        image = self._square(_opened(photograph).convert(MODES[self.channels]))
        return torch.from_numpy(np.array(image)).view(self.size, self.size, self.channels).permute(2, 0, 1)

    def normalise(self, pictures: Tensor) -> Tensor:
        """Return pictures (N, C, H, W) of uint8 as the network takes them."""
        return (pictures / 255 - self._column(self.mean)) / self._column(self.std)

    def denormalise(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) as people see them, uint8. The opposite of ``normalise``."""
        values = images.detach().cpu().float() * self._column(self.std) + self._column(self.mean)
        return (values * 255).round().clamp(0, 255).to(torch.uint8)

    def prepare(self, photographs: Sequence[Photograph]) -> tuple[Tensor, Tensor]:
        """Return photographs as people see them, (N, C, H, W) uint8, and as the network takes them.

        Raises:
            OSError: as ``picture`` does.
            ValueError: as ``picture`` does; or no photograph, or tensors of different sizes.
        """
        if not photographs:
            raise ValueError("There is no photograph to look at.")
        ready = [each for each in photographs if isinstance(each, Tensor) and each.is_floating_point()]
        if not ready:
            pictures = torch.stack([self.picture(each) for each in photographs])
            return pictures, self.normalise(pictures)
        if len(ready) < len(photographs) or len({each.shape for each in ready}) > 1 or ready[0].ndim != 3:
            shapes = ", ".join(sorted({str(tuple(each.shape)) for each in ready}))
            raise ValueError(
                f"Normalised tensors must all be (C, H, W) of one size, with nothing else among them; these are {shapes}."
            )
        images = torch.stack(ready)
        return self.denormalise(images), images

    def _square(self, image: Image.Image) -> Image.Image:
        size = (self.size, self.size)
        if self.stretch:
            return image.resize(size, Image.Resampling.BILINEAR)
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)

    def _column(self, values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values).view(-1, 1, 1)


def name_of(photograph: Photograph, number: int) -> str:
    """Return a file's name, or ``image-1`` and so on for what has none (numbers from 0)."""
    if isinstance(photograph, str | Path):
        return Path(photograph).name
    return f"image-{number + 1}"


def as_list(photographs: Photograph | Sequence[Photograph]) -> list[Photograph]:
    """Return one photograph, several, or a batch (N, C, H, W), as a list."""
    if isinstance(photographs, list | tuple):
        return list(photographs)
    if isinstance(photographs, Tensor) and photographs.ndim == 4:
        return list(photographs)
    return [photographs]  # type: ignore[list-item]  # a sequence of another kind is refused when it is opened


def _opened(photograph: Photograph) -> Image.Image:
    match photograph:
        case str() | Path():
            with open_image(Path(photograph).expanduser()) as image:
                return as_people_see_it(image)
        case Image.Image():
            return as_people_see_it(photograph)
        case Tensor() if photograph.ndim == 3 and photograph.dtype == torch.uint8:
            return _from_array(photograph.permute(1, 2, 0).cpu().numpy())
        case np.ndarray():
            return _from_array(photograph)
    kind = f"a tensor {tuple(photograph.shape)}" if isinstance(photograph, Tensor) else f"a {type(photograph).__name__}"
    raise ValueError(
        f"A photograph is a file, a Pillow image, an array (H, W, C) or a tensor (C, H, W), of uint8 or floats; this is {kind}."
    )


def _from_array(pixels: NDArray[Any]) -> Image.Image:
    if np.issubdtype(pixels.dtype, np.floating):
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError(
                f"An array of floats must lie between 0 and 1; this one lies in {pixels.min()} ... {pixels.max()}."
            )
        pixels = (pixels * 255).round().astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ValueError(
            f"An array must be (H, W) or (H, W, 1, 3 or 4) of uint8 or floats, not {pixels.shape} of {pixels.dtype}."
        )
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
