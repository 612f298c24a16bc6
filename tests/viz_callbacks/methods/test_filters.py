"""The first layer's filters: their size, and which are dead."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from viz_callbacks.engine.forward import record
from viz_callbacks.methods.filters import dead_filters, first_filters, root_mean_squares


def test_the_first_filters_are_those_of_the_first_convolution() -> None:
    first = nn.Conv2d(3, 4, 5)
    found = first_filters(nn.Sequential(nn.Sequential(first, nn.ReLU()), nn.Conv2d(4, 2, 3)))
    assert torch.equal(found, first.weight)
    assert not found.requires_grad
    for without in (lambda: first_filters(nn.Sequential(nn.Flatten())), lambda: dead_filters([])):
        with pytest.raises(ValueError, match="no filters to look at"):
            without()


def test_root_mean_square_word_for_word() -> None:
    filters = torch.randn(5, 3, 2, 4)
    expected = [math.sqrt(sum(value**2 for value in each.flatten().tolist()) / 24) for each in filters]
    assert root_mean_squares(filters).tolist() == pytest.approx(expected)


def test_dead_is_what_shows_nothing_on_any_image_however_it_looks() -> None:
    torch.manual_seed(0)
    conv, images = nn.Conv2d(3, 5, 5, padding=2), torch.randn(3, 3, 12, 12)
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight[1] = 0  # flat, and says nothing
        conv.bias[2] = -1e3  # like the others, and says nothing
        conv.weight[3] = 0.5  # flat, and says something: how bright it is
        alive = images[2].abs() * 10
        conv.weight[4] = 1
        conv.bias[4] = -1.01 * float(F.conv2d(images[:2], conv.weight[4:5], padding=2).max())
    network = nn.Sequential(conv, nn.ReLU())
    assert dead_filters(record(network, images[:2])) == [False, True, True, False, True]
    images[2] = alive
    assert dead_filters(record(network, images)) == [False, True, True, False, False], "one image is enough to be alive"
