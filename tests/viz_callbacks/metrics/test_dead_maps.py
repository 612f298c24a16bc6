"""Which feature maps are dead."""

import torch

from viz_callbacks.metrics.dead_maps import DeadMaps


def test_dead_maps_are_those_that_never_change_in_any_image() -> None:
    maps = torch.zeros(2, 4, 3, 3)
    maps[0, 1, 0, 0] = 1  # alive in one image
    maps[:, 2] = 7  # even
    maps[0, 3], maps[1, 3] = 1, 2  # even in each, but not the same
    measure = DeadMaps(4)
    assert measure(maps) == 2
    measure.reset()
    for image in maps:
        measure.update(image[None])
    assert measure.compute() == 2
