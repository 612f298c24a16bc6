"""Generated images of eight shapes, with exact masks: a small data set that needs no download.

Each picture is one textured shape on a textured ground. Place, size, rotation, colours and both textures are drawn without
regard to the class, so that only the outline tells it. An image is a pure function of (seed, class, number).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.cache import Pixels
from datamodules.datamodule import ImageDataModule, Mask
from datamodules.datasets import ImageSet

SIDE = 144  # pixels

Plane = NDArray[np.floating[Any]]


def star(x: Plane, y: Plane, points: int, inner: float) -> Plane:
    """Return the distance from a star with its tips at radius 1 and its notches at ``inner``, one tip upwards.

    Tip and notch span an angle of pi / points; every direction is folded into it, where the outline is one straight line.
    """
    angle = math.pi / points
    folded = np.abs((np.arctan2(x, -y) + angle) % (2 * angle) - angle)
    radius = np.hypot(x, y)
    notch_x, notch_y = inner * math.cos(angle), inner * math.sin(angle)
    length = math.hypot(1 - notch_x, notch_y)
    return ((radius * np.cos(folded) - 1) * notch_y + radius * np.sin(folded) * (1 - notch_x)) / length


def heart(x: Plane, y: Plane) -> Plane:
    """Return the distance from a heart: a square on its corner, and a disc on each of its two upper sides."""
    side = 0.58
    square = (np.abs(x) + np.abs(y - 0.1)) / math.sqrt(2) - side
    disc = np.hypot(np.abs(x) - side / math.sqrt(2), y - 0.1 + side / math.sqrt(2)) - side
    outline: Plane = np.minimum(square, disc)
    return outline


def cross(x: Plane, y: Plane) -> Plane:
    """Return the distance from a cross of two bars."""
    across, along = np.abs(x), np.abs(y)
    outline: Plane = np.maximum(np.maximum(across, along) - 0.92, np.minimum(across, along) - 0.3)
    return outline


SHAPES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.82,
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.78 - np.hypot(x - 0.42, y)),
    "cross": cross,
    "heart": heart,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.73) - 0.22,
    "square": lambda x, y: star(x, y, 4, math.cos(math.pi / 4)),
    "star": lambda x, y: star(x, y, 5, 0.45),
    "triangle": lambda x, y: star(x, y, 3, math.cos(math.pi / 3)),
}
"""Each shape's signed distance in coordinates where it fills the unit circle: negative inside, y downwards."""


@dataclass(frozen=True)
class Pose:
    """Where a shape lies: all lengths as shares of the image's side."""

    x: float
    y: float
    radius: float
    turn: float  # radians, clockwise

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Pose":
        """Draw a pose at random, wholly within the image."""
        radius = rng.uniform(0.24, 0.38)
        return cls(rng.uniform(radius, 1 - radius), rng.uniform(radius, 1 - radius), radius, rng.uniform(-math.pi, math.pi))


def distance(shape: str, pose: Pose, side: int) -> Plane:
    """Return the distance (side, side) of each pixel's centre from the shape's outline, in pixels: negative inside."""
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = (centres[None, :] - pose.x) / pose.radius, (centres[:, None] - pose.y) / pose.radius
    cos, sin = math.cos(pose.turn), math.sin(pose.turn)
    return SHAPES[shape](x * cos + y * sin, y * cos - x * sin) * (pose.radius * side)


def texture(rng: np.random.Generator, side: int) -> Plane:
    """Draw stripes, checks, dots or clouds at a random scale and angle: (side, side) from 0 to 1."""
    turn, scale = rng.uniform(0, math.pi), rng.uniform(0.25, 0.6)
    pixels = np.arange(side, dtype=np.float32) * scale
    along = pixels[None, :] * math.cos(turn) + pixels[:, None] * math.sin(turn)
    across = pixels[:, None] * math.cos(turn) - pixels[None, :] * math.sin(turn)
    kind = rng.integers(4)
    if kind == 0:
        wave: Plane = np.sin(along)
    elif kind == 1:
        wave = 2 * np.sin(0.7 * along) * np.sin(0.7 * across)
    elif kind == 2:
        wave = np.cos(0.8 * along) + np.cos(0.8 * across) - 0.6
    else:
        wave = np.sin(0.3 * along + 1.5 * np.sin(0.23 * across)) * np.cos(0.25 * across + np.sin(0.2 * along))
    return (0.5 + 0.8 * wave).clip(0, 1)


def colour(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    """Return red, green and blue (3, 1, 1), from 0 to 255, of a hue in turns."""
    ramps = np.clip(np.abs((hue + np.array([0, 2 / 3, 1 / 3]).reshape(3, 1, 1)) % 1 * 6 - 3) - 1, 0, 1)
    pixel: NDArray[np.float32] = (255 * value * (1 - saturation * (1 - ramps))).astype(np.float32)
    return pixel


def surface(rng: np.random.Generator, hue: float, value: float, side: int) -> Plane:
    """Draw a textured surface (3, side, side) from 0 to 255, in two shades of about the same hue and brightness."""
    saturation = rng.uniform(0.3, 0.65)
    one, other = (colour(hue + shift, saturation, value + shift) for shift in rng.uniform(0.04, 0.1) * np.array([-1, 1]))
    return one + texture(rng, side) * (other - one)


def picture(shape: str, number: int, seed: int) -> Pixels:
    """Draw image ``number`` of a class, (144, 144, 3) uint8: the shape in one surface on another, its edge one pixel soft."""
    rng = _random(shape, number, seed)
    pose = Pose.draw(rng)
    hue, values = rng.uniform(), rng.permutation([rng.uniform(0.3, 0.5), rng.uniform(0.8, 0.9)])
    ground = surface(rng, hue, values[0], SIDE)
    figure = surface(rng, hue + rng.uniform(0.3, 0.7), values[1], SIDE)
    cover = np.clip(0.5 - distance(shape, pose, SIDE), 0, 1)
    pixels: Pixels = np.rint(ground + cover * (figure - ground)).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def mask(shape: str, number: int, seed: int, side: int) -> Mask:
    """Return the shape's mask in that image, resized to (side, side): the pixels whose centres lie within its outline."""
    return distance(shape, Pose.draw(_random(shape, number, seed)), side) < 0


def _random(shape: str, number: int, seed: int) -> np.random.Generator:
    return np.random.default_rng((seed, list(SHAPES).index(shape), number))


class Shapes(ImageDataModule):
    """``settings.images_per_class`` images of each shape, drawn by ``settings.seed``, in memory."""

    title = "generated shapes (not photographs)"
    default_probes = tuple(f"{shape}/0001" for shape in SHAPES)

    def read(self) -> ImageSet:
        """Generate all images, in about a millisecond each."""
        numbers = range(1, self.settings.images_per_class + 1)
        named = [(shape, number) for shape in SHAPES for number in numbers]
        return ImageSet(
            class_names=list(SHAPES),
            files=[f"{shape}/{number:04d}" for shape, number in named],
            targets=np.repeat(np.arange(len(SHAPES)), len(numbers)),
            groups=np.arange(len(named)),
            images=np.stack([picture(shape, number, self.settings.seed) for shape, number in named]),
        )

    def mask(self, index: int) -> Mask:
        """Return the shape's mask (S, S), which is exact."""
        shape, number = self.files[index].split("/")
        return mask(shape, int(number), self.settings.seed, self.image_size)
