"""Which feature maps have nothing to show: of one image, and of all."""

import torch

from viz_callbacks.engine.feature_maps import dead_maps, silent_maps


def test_silent_on_one_image_and_dead_on_all() -> None:
    maps = torch.rand(2, 4, 5, 5)
    maps[:, 1] = 0
    maps[0, 2] = 0
    maps[:, 3] = 0
    maps[1, 3] = 0.5  # constant on each image, but not the same
    assert silent_maps(maps[0]) == [False, True, True, True]
    assert silent_maps(maps[1]) == [False, True, False, True]
    assert dead_maps(maps) == [False, True, False, False]
