"""A projection to the pixels that shows itself: in a notebook, in a window, as a file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from viz_callbacks.drawing.layout import add_heading, labelled_row, stack_vertically
from viz_callbacks.drawing.pixels import Pixels, magnify, picture_of, robust_range, signed_picture


class Showable:
    """What has a picture."""

    @property
    def image(self) -> Image.Image:
        """The picture."""
        raise NotImplementedError

    def show(self) -> None:
        """Open the picture in a window."""
        self.image.show()

    def save(self, file: str | Path) -> None:
        """Write the picture, in the format that the file's name says."""
        self.image.save(Path(file).expanduser())

    def _repr_png_(self) -> bytes:
        encoded = io.BytesIO()
        self.image.save(encoded, "PNG")
        return encoded.getvalue()


@dataclass(frozen=True, eq=False, repr=False)
class Projection(Showable):
    """What of some photographs a layer, a map or a class stands for, in pixels.

    Attributes:
        tensor: (N, C, H, W) for N photographs, or (N, K, C, H, W) for K projections of each.
        title: what it shows.
        labels: for each photograph a name of each of its projections.
        names: of the photographs.
        pictures: the photographs as people see them, (N, C, H, W) uint8.
    """

    tensor: Tensor
    title: str
    labels: Sequence[Sequence[str]]
    names: Sequence[str]
    pictures: Tensor

    @property
    def image(self) -> Image.Image:
        """A row for each photograph: itself, then its projections. Grey is 0; white and black are the range by the name."""
        rows = []
        for number, name in enumerate(self.names):
            tiles: list[tuple[str, Pixels]] = [(name, magnify(picture_of(self.pictures[number])))]
            several = self.tensor[number] if self.tensor.ndim == 5 else self.tensor[number][None]
            for label, values in zip(self.labels[number], several, strict=True):
                range_ = robust_range(values)
                tiles.append((f"{label} ±{range_:.3g}", magnify(signed_picture(values, range_))))
            rows.append(labelled_row(tiles))
        return add_heading([self.title, "grey is 0, white and black as written above each"], stack_vertically(rows))

    def __repr__(self) -> str:
        return f"{self.title}: .tensor {tuple(self.tensor.shape)}; .show(), .save(file)"
