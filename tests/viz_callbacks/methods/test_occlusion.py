"""Occlusion and invariance on networks whose answer is known."""

import math

import pytest
import torch
from torch import nn

from viz_callbacks.methods.invariance import invariance, transform
from viz_callbacks.methods.occlusion import occlusion


def counting_network() -> nn.Sequential:
    """Two classes; the first's logit is the sum of the image's bright pixels, the second's is 10."""
    conv, dense = nn.Conv2d(1, 2, 1), nn.Linear(2, 2)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        assert conv.bias is not None
        conv.bias.zero_()
        dense.weight.copy_(torch.tensor([[1.0, 0], [0, 0]]))
        dense.bias.copy_(torch.tensor([0.0, 10]))
    pool = nn.AdaptiveAvgPool2d(1)
    dense.weight.data *= 8 * 12  # the pool's mean becomes a sum
    return nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), dense)


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_square_takes_away_what_it_covers(batch: int) -> None:
    image = torch.zeros(1, 8, 12)
    image[0, 2:4, 5:8] = 2  # sum 12
    found = occlusion(counting_network(), image, target=0, layer="0", side=3, stride=2, batch_size=batch)
    assert found.tops == [0, 2, 4, 5]
    assert found.lefts == [0, 2, 4, 6, 8, 9]
    assert found.map_index == 0
    assert found.unoccluded.probability == pytest.approx(1 / (1 + math.exp(-2)))
    assert found.unoccluded.predicted == 0
    assert found.unoccluded.activation == pytest.approx(12)
    for row, top in enumerate(found.tops):
        for column, left in enumerate(found.lefts):
            covered = max(0, min(top + 3, 4) - max(top, 2)) * max(0, min(left + 3, 8) - max(left, 5))
            left_over = 12 - 2 * covered
            assert found.activation[row, column] == pytest.approx(left_over)
            assert found.probability[row, column] == pytest.approx(1 / (1 + math.exp(10 - left_over)), rel=1e-5)
            assert found.predicted[row, column] == (0 if left_over > 10 else 1)


def test_a_square_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a square of 9 by a stride of 1"):
        occlusion(counting_network(), torch.zeros(1, 8, 12), 0, "0", side=9, stride=1)


def test_a_shift_moves_rows_down() -> None:
    image = torch.rand(1, 1, 8, 12)
    moved = transform(image, "translation", 3)
    torch.testing.assert_close(moved[..., 3:, :], image[..., :-3, :])
    assert not moved[..., :2, :].any()


def test_a_quarter_turn_is_torchs() -> None:
    image = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(transform(image, "rotation", 90), torch.rot90(image, 1, (2, 3)), atol=1e-5, rtol=0)
    oblong = torch.zeros(1, 1, 20, 40)
    oblong[..., 8:12, 8:32] = 1  # a bar of 24 x 4, lying
    upright = transform(oblong, "rotation", 90)[0, 0]
    assert (upright.sum(0) > 1).sum() in (4, 5), "turned, not sheared, in an image that is no square"


def test_twice_as_large_shows_the_middle_half() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., 6:10, 6:10] = 1
    large = transform(image, "scale", 2)
    assert large.sum() == pytest.approx(4 * 16, rel=0.1)
    assert large[..., 5:11, 5:11].min() > 0.99


def test_nothing_changed_is_no_distance_and_distances_are_euclidean() -> None:
    network, images = counting_network(), torch.rand(2, 1, 8, 12)
    found = invariance(network, images, torch.tensor([0, 1]), ["1", "4"], "translation", [0, 2])
    assert found.distances["1"].shape == found.probability.shape == (2, 2)
    torch.testing.assert_close(found.distances["1"][:, 0], torch.zeros(2), atol=1e-4, rtol=0)
    moved = transform(images, "translation", 2)
    expected = (torch.relu(moved) - torch.relu(images)).flatten(1).norm(dim=1)  # the second map is 0 in both
    torch.testing.assert_close(found.distances["1"][:, 1], expected)
    answers = network(moved).softmax(1)
    torch.testing.assert_close(found.probability[:, 1], answers[torch.arange(2), torch.tensor([0, 1])])


def test_unknown_words_are_refused() -> None:
    network, images, targets = counting_network(), torch.rand(1, 1, 8, 12), torch.tensor([0])
    with pytest.raises(ValueError, match="There is no layer 'conv9'"):
        invariance(network, images, targets, ["conv9"], "scale", [1.0])
    with pytest.raises(ValueError, match="no transformation 'shear'"):
        transform(images, "shear", 1)  # type: ignore[arg-type]  # refused by types too
