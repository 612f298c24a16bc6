"""Augmentation is a pure function of (seed, epoch, index), and each part of it does what its setting says."""

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as V
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from configs import DataSettings
from datamodules.transforms import _crop, augment, color_jitter, cutmix, epoch_random_numbers, resize

PLAIN = DataSettings(crop_area=1, flip=False, jitter=0)


def with_(**changes: object) -> DataSettings:
    return DataSettings(**{**vars(PLAIN), **changes})


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def drawn_for(seed: int, epoch: int, index: int) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = epoch_random_numbers(1200, seed, epoch)[index]
    return numbers


def test_numbers_are_drawn_by_seed_and_epoch_for_each_image() -> None:
    drawn = epoch_random_numbers(50, 3, 5)
    assert drawn.shape == (50, 12)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert len(np.unique(drawn)) == drawn.size, "none is used twice"
    epoch_random_numbers.cache_clear()
    assert np.array_equal(drawn, epoch_random_numbers(50, 3, 5))
    for other in (epoch_random_numbers(50, 4, 5), epoch_random_numbers(50, 3, 6)):
        assert not (drawn == other).any()


def test_same_arguments_same_pixels(image: np.ndarray) -> None:
    settings = DataSettings()
    first = augment(image, 40, settings, drawn_for(3, 5, 7))
    np.random.seed(0)
    torch.manual_seed(0)
    assert torch.equal(first, augment(image, 40, settings, drawn_for(3, 5, 7)))
    for other in ({"seed": 4}, {"epoch": 6}, {"index": 8}):
        assert not torch.equal(first, augment(image, 40, settings, drawn_for(**{"seed": 3, "epoch": 5, "index": 7, **other})))
    assert first.shape == (3, 40, 40)
    assert first.dtype == torch.uint8


def test_without_augmentation_it_is_the_evaluation_image(image: np.ndarray) -> None:
    assert torch.equal(augment(image, 40, PLAIN, drawn_for(1, 2, 3)), resize(image, 40))


def test_evaluation_at_the_stored_size_changes_nothing(image: np.ndarray) -> None:
    np.testing.assert_array_equal(resize(image, 64).permute(1, 2, 0).numpy(), image)


def test_evaluation_is_antialiased() -> None:
    board = np.indices((64, 64)).sum(0)[..., None].repeat(3, 2) % 2 * 255
    assert (resize(board.astype(np.uint8), 16).float() - 127.5).abs().max() < 8


def test_half_of_the_images_are_mirrored(image: np.ndarray) -> None:
    straight = resize(image, 40)
    mirrored = 0
    for index in range(200):
        out = augment(image, 40, with_(flip=True), drawn_for(1, 1, index))
        mirrored += torch.equal(out, straight.flip(2))
        assert torch.equal(out, straight) or torch.equal(out, straight.flip(2))
    assert 75 <= mirrored <= 125


def test_mirroring_does_not_change_the_crop(image: np.ndarray) -> None:
    for index in range(10):
        crop = augment(image, 40, with_(crop_area=0.3), drawn_for(1, 1, index))
        maybe_mirrored = augment(image, 40, with_(crop_area=0.3, flip=True), drawn_for(1, 1, index))
        assert torch.equal(crop, maybe_mirrored) or torch.equal(crop.flip(2), maybe_mirrored)


def test_jitter_changes_colours_within_bounds() -> None:
    grey = np.full((8, 8, 3), 100, dtype=np.uint8)  # contrast and saturation leave it alone
    levels = [int(augment(grey, 8, with_(jitter=0.2), drawn_for(1, 1, index))[0, 0, 0]) for index in range(300)]
    assert 80 <= min(levels) < 84
    assert 116 < max(levels) <= 120


factors = st.floats(0.7, 1.3)


@given(factors, factors, factors)
def test_jitter_is_torchvisions_three_steps_in_one(brightness: float, contrast: float, saturation: float) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(70, 150, (3, 9, 11), dtype=np.uint8))  # nothing is clipped
    plain = V.adjust_brightness(image.double() / 255, brightness)
    plain = V.adjust_saturation(V.adjust_contrast(plain, contrast), saturation)
    assert (
        color_jitter(image, brightness, contrast, saturation) - 255 * plain
    ).abs().max() < 0.6  # torchvision's greys have 4 digits


def test_jitter_by_1_changes_nothing_and_clips_at_white(image: np.ndarray) -> None:
    straight = resize(image, 40)
    assert torch.equal(color_jitter(straight, 1, 1, 1), straight)
    assert color_jitter(straight, 1.3, 1, 1).max() == 255
    assert torch.equal(color_jitter(straight, 0.5, 1, 1), (straight * 0.5 + 0.5).to(torch.uint8))


@pytest.mark.parametrize("size", [31, 64, 90])
def test_a_crop_is_torchvisions_resized_crop(image: np.ndarray, size: int) -> None:
    theirs = V.resized_crop(torch.from_numpy(image).permute(2, 0, 1), 5, 9, 40, 33, [size, size], antialias=True)
    assert torch.equal(resize(image[5:45, 9:42], size), theirs)


numbers = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 300), st.floats(0.01, 1), numbers, numbers, numbers)
def test_crops_lie_within_the_image(side: int, area: float, aspect: float, x: float, y: float) -> None:
    top, left, height, width = _crop(side, area, aspect, x, y)
    assert 0 <= top < top + height <= side
    assert 0 <= left < left + width <= side
    assert abs(math.sqrt(height * width) - side * math.sqrt(area)) <= 1.5
    if area * side > 50:
        assert 0.7 < width / height < 1.43


def test_crops_reach_every_corner_and_size() -> None:
    rng = np.random.default_rng(1)
    crops = np.array([_crop(100, *rng.uniform([0.3, 0, 0, 0], 1)) for _ in range(2000)])
    top, left, height, width = crops.T
    assert (top.min(), left.min(), (top + height).max(), (left + width).max()) == (0, 0, 100, 100)
    assert 0.28 < (height * width).min() / 1e4 < 0.32
    assert (height * width).max() / 1e4 > 0.98
    assert (width / height).min() < 0.77
    assert (width / height).max() > 1.3


def mixed(share: float, seed: int = 1, epoch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """200 images, each of one colour and one class of its own, mixed."""
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).expand(200, 3, 20, 20).clone()
    targets = torch.eye(200)
    cutmix(images, targets, share, epoch_random_numbers(1200, seed, epoch)[1000:])
    return images, targets


def test_cutmix_pastes_one_rectangle_of_the_next_image_and_shares_the_target_by_area() -> None:
    images, targets = mixed(share=1.0)
    areas = []
    for place in range(200):
        pasted = images[place, 0] == (place + 1) % 200
        assert ((images[place] == place) | (images[place] == (place + 1) % 200)).all()
        rows, columns = pasted.any(1).sum(), pasted.any(0).sum()
        assert pasted.sum() == rows * columns, "a rectangle"
        areas.append(float(pasted.float().mean()))
        assert targets[place, (place + 1) % 200] == pytest.approx(areas[-1])
        assert targets[place, place] == pytest.approx(1 - areas[-1])
    torch.testing.assert_close(targets.sum(1), torch.ones(200))
    assert min(areas) < 0.02
    assert max(areas) > 0.8


def test_cutmix_mixes_the_share_asked_for_and_depends_on_seed_and_epoch() -> None:
    images, targets = mixed(share=0.5)
    assert 70 < (targets.max(1).values < 1).sum() < 130
    assert torch.equal(images, mixed(share=0.5)[0])
    assert not torch.equal(images, mixed(share=0.5, epoch=3)[0])
    assert not torch.equal(images, mixed(share=0.5, seed=2)[0])
    assert torch.equal(mixed(share=0.0)[1], torch.eye(200))
