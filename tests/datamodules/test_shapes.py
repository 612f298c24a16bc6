"""The generated data set: pure, recognisable by outline alone, with masks that are exact."""

import math

import numpy as np
import pytest

from configs import DataSettings
from datamodules.shapes import SHAPES, SIDE, Pose, Shapes, distance, mask, picture


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    data = Shapes(DataSettings(name="shapes", images_per_class=20), image_size=SIDE, seed=1)
    data.setup()
    return data


def test_contents(shapes: Shapes) -> None:
    assert len(shapes.class_names) == 8
    assert shapes.class_names == sorted(shapes.class_names)
    assert len(shapes.files) == 160
    assert shapes.files[0] == "circle/0001"
    assert np.bincount(shapes.targets).tolist() == [20] * 8
    assert "generated" in shapes.title
    assert np.bincount(shapes.targets[shapes.split.test]).tolist() == [4] * 8


def test_picture_is_a_pure_function_of_seed_class_and_number(shapes: Shapes) -> None:
    np.testing.assert_array_equal(shapes.image_set.images[21], picture("crescent", 2, seed=1))
    assert not np.array_equal(picture("crescent", 2, seed=1), picture("crescent", 2, seed=2))
    assert not np.array_equal(picture("crescent", 2, seed=1), picture("crescent", 3, seed=1))


def test_masks_lie_at_the_network_size() -> None:
    settings = DataSettings(name="shapes", images_per_class=2, test_fraction=0.5, val_fraction=0, batch_size=8)
    data = Shapes(settings, image_size=60, seed=1)
    data.setup()
    masks = data.masks(range(16)).numpy()
    assert masks.shape == (16, 60, 60)
    assert masks.dtype == np.bool_
    areas, full = masks.mean((1, 2)), np.array([mask(*named(file), 1, SIDE).mean() for file in data.files])
    np.testing.assert_allclose(areas, full, atol=0.01)


def named(file: str) -> tuple[str, int]:
    shape, number = file.split("/")
    return shape, int(number)


def test_mask_tells_the_two_surfaces_apart(shapes: Shapes) -> None:
    """One surface is light and the other dark: away from the soft edge, brightness alone says what is inside."""
    for index, inside in enumerate(shapes.masks(range(len(shapes.files))).numpy()):
        light = shapes.image_set.images[index].max(2) > 165
        edge = np.zeros_like(inside)
        for axis in (0, 1):
            for step in (-1, 1):
                edge |= np.roll(inside, step, axis) != inside
        agree = (light == inside)[~edge].mean()
        assert max(agree, 1 - agree) > 0.9995  # the last is a thin tip that covers no pixel's centre
        assert 0.04 < inside.mean() < 0.4
        assert not (inside[0].any() and inside[-1].any())


def in_triangle(px: float, py: float, corners: list[tuple[float, float]]) -> bool:
    turns = [
        (bx - ax) * (py - ay) - (by - ay) * (px - ax)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return all(turn > 0 for turn in turns) or all(turn < 0 for turn in turns)


def plain_mask(shape: str, pose: Pose, side: int) -> np.ndarray:
    """Pixel by pixel, from the corners: a triangle, a square as two triangles, a star as five kites and so on."""
    tips = {"triangle": 3, "square": 4, "star": 5}[shape]
    inner = 0.45 if shape == "star" else math.cos(math.pi / tips)

    def corner(step: int) -> tuple[float, float]:
        angle, radius = step * math.pi / tips - math.pi / 2 + pose.turn, (inner if step % 2 else 1) * pose.radius
        return pose.x + radius * math.cos(angle), pose.y + radius * math.sin(angle)

    out = np.zeros((side, side), dtype=bool)
    for row in range(side):
        for column in range(side):
            point = ((column + 0.5) / side, (row + 0.5) / side)
            out[row, column] = any(in_triangle(*point, [(pose.x, pose.y), corner(i), corner(i + 1)]) for i in range(2 * tips))
    return out


@pytest.mark.parametrize("shape", ["triangle", "square", "star"])
def test_polygon_masks_match_a_plain_rendering(shape: str) -> None:
    for number in range(3):
        pose = Pose.draw(np.random.default_rng(number))
        fast, plain = distance(shape, pose, 48) < 0, plain_mask(shape, pose, 48)
        # The plain one leaves out points that lie exactly on the seams between its triangles.
        assert (fast != plain).sum() <= 2
        assert plain.sum() > 100


def test_round_masks_match_their_areas() -> None:
    pose = Pose(0.5, 0.5, 0.4, 0.3)
    areas = {"circle": math.pi * 0.82**2, "ring": math.pi * (0.95**2 - 0.51**2), "cross": 4 * 0.92 * 0.6 - 0.6**2}
    for shape, area in areas.items():
        assert (distance(shape, pose, 400) < 0).mean() == pytest.approx(area * 0.4**2, rel=0.01)


def test_neither_colour_nor_area_gives_the_class_away() -> None:
    """The mean colour's spread within a class is far larger than between classes."""
    means = np.array([[picture(shape, number, 1).mean((0, 1)) for number in range(1, 41)] for shape in SHAPES])
    between, within = means.mean(1).std(0), means.std(1).mean(0)
    assert (between < 0.4 * within).all()
