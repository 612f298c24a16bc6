"""The floor: what can be told of a class without looking at the content."""

import numpy as np
import pytest

from datamodules.baselines import no_content_features, no_content_floor
from datamodules.datamodule import ImageDataModule
from datamodules.splits import Split


def test_features_are_size_greyness_and_corners_on_one_scale() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    images[::2] = images[::2, :, :, :1]  # every other image is grey
    sizes = rng.integers(100, 300, (20, 2))
    features = no_content_features(images, sizes)
    plain = np.column_stack([
        sizes, np.arange(20) % 2 == 0, images[:, 0, 0], images[:, 0, 7], images[:, 7, 0], images[:, 7, 7]
    ]).astype(float)  # fmt: skip
    np.testing.assert_allclose(features, plain / plain.std(0), rtol=1e-5)


def test_what_is_the_same_everywhere_tells_nothing() -> None:
    features = no_content_features(np.zeros((3, 4, 4, 3), dtype=np.uint8), np.full((3, 2), 7))
    assert np.isfinite(features).all()
    assert (features == features[0]).all()


def test_the_floor_is_the_nearest_training_images_class() -> None:
    features = np.array([[0.0], [10.0], [20.0], [1.0], [2.0], [12.0], [19.0]], dtype=np.float32)
    targets = np.array([0, 1, 2, 0, 0, 2, 2])
    split = Split(train=np.array([0, 1]), val=np.array([2]), test=np.array([3, 4, 5, 6]))
    floor = no_content_floor(features, targets, split)
    assert floor["accuracy"] == pytest.approx(3 / 4)  # 12 is nearest to 10, of class 1
    assert floor["mean_per_class"] == pytest.approx((1 + 1 / 2) / 2)


def test_every_data_set_has_its_floor(shapes: ImageDataModule) -> None:
    assert (shapes.original_sizes() == 144).all()
    assert set(shapes.no_content_floor()) == {"accuracy", "mean_per_class"}
