"""Parts of images in which single units come out as in the whole images: less to compute where receptive fields are small."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from viz_callbacks.engine.receptive_field import ReceptiveField
from viz_callbacks.methods.unit_projection import Units


@dataclass(frozen=True)
class Crop:
    """How large a part of an image has to be for a unit to come out in it as in the whole image.

    A part begins at a multiple of the units' stride, so that all layers' windows lie as in the whole, and holds the unit's
    receptive field. Where the field reaches out of the image, image and part end at the same place.

    Attributes:
        field: of the units.
        image: height and width of the image.
        size: height and width of the part: the image's, but for a multiple of the stride.
    """

    field: ReceptiveField
    image: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def around(cls, field: ReceptiveField, image: Sequence[int]) -> "Crop":
        """Return the smallest part that does for every unit with this field in an image of this height and width."""
        height, width = (
            min(whole, size + stride - 1 + (whole - size - stride + 1) % stride)
            for whole, size, stride in zip(image, field.size, field.stride, strict=True)
        )
        return cls(field, (image[0], image[1]), (height, width))

    @property
    def area(self) -> int:
        """In pixels."""
        return self.size[0] * self.size[1]

    def cut(self, images: Tensor, units: Units) -> tuple[Tensor, Units]:
        """Cut out the part of its image that each unit needs.

        Args:
            images: (N, C, H, W).
            units: B of them, in the maps of these images.

        Returns:
            The parts (B, C, h, w), and the same units in the maps of these parts, one for each.
        """
        parts, rows, columns = [], [], []
        for image, row, column in torch.stack([units.images, units.rows, units.columns], 1).tolist():
            top, left = (
                min(max(0, edge // stride * stride), whole - size)
                for edge, stride, whole, size in zip(
                    self.field.box(row, column)[:2], self.field.stride, self.image, self.size, strict=True
                )
            )
            parts.append(images[image : image + 1, :, top : top + self.size[0], left : left + self.size[1]])
            rows.append(row - top // self.field.stride[0])
            columns.append(column - left // self.field.stride[1])
        own = Units(torch.arange(len(units)), units.maps, torch.tensor(rows), torch.tensor(columns))
        return torch.cat(parts), own
