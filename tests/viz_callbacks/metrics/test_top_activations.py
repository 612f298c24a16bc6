"""The streaming top K against a scan of everything at once."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from viz_callbacks.metrics.top_activations import TopActivations


def brute_force(maps: Tensor, numbers: Tensor, keep: int) -> list[list[tuple[float, int, int, int]]]:
    """For each map (value, image, row, column), by sorting all images in plain Python."""
    found = []
    for k in range(maps.shape[1]):
        best = []
        for image, number in zip(maps[:, k].numpy(), numbers.tolist(), strict=True):
            row, column = np.unravel_index(image.argmax(), image.shape)
            best.append((float(image.max()), number, int(row), int(column)))
        found.append(sorted(best, key=lambda entry: (-entry[0], entry[1]))[:keep])
    return found


def as_lists(found: dict[str, Tensor]) -> list[list[tuple[float, int, int, int]]]:
    columns = (found["values"], found["images"], found["rows"], found["columns"])
    return [list(zip(*(column[k].tolist() for column in columns), strict=True)) for k in range(len(found["values"]))]


@pytest.mark.parametrize("batch", [1, 7, 50])
@pytest.mark.parametrize("levels", [3, 1_000_000])  # three values only: many ties
def test_equal_to_brute_force_whatever_the_batches_and_the_order(batch: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(levels, (50, 4, 3, 5), generator=generator).float()
    numbers = torch.randperm(1000, generator=generator)[:50]
    metric = TopActivations(4, keep=9)
    for start in range(0, 50, batch):
        metric.update(maps[start : start + batch], numbers[start : start + batch])
    assert as_lists(metric.compute()) == brute_force(maps, numbers, 9)


def test_fewer_images_than_places_leave_places_empty() -> None:
    metric = TopActivations(2, keep=4)
    metric.update(torch.rand(3, 2, 2, 2), torch.tensor([5, 6, 7]))
    found = metric.compute()
    assert found["images"][:, 3].tolist() == [-1, -1]
    assert found["values"][:, 3].tolist() == [-torch.inf] * 2
    assert sorted(found["images"][0, :3].tolist()) == [5, 6, 7]


def test_a_map_that_is_0_everywhere_keeps_its_first_images() -> None:
    metric = TopActivations(1, keep=2)
    metric.update(torch.zeros(3, 1, 2, 2), torch.tensor([8, 2, 4]))
    assert metric.compute()["images"].tolist() == [[2, 4]]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_processes_are_merged_as_if_one_had_seen_all() -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randint(5, (40, 3, 4, 4), generator=generator).float()
    numbers = torch.arange(40)
    parts = []
    for rank in range(2):
        part = TopActivations(3)
        part.update(maps[rank::2], numbers[rank::2])
        parts.append(part)
    whole = TopActivations(3)
    whole.values = torch.stack([part.values for part in parts])  # what torchmetrics' gathering gives
    whole.places = torch.stack([part.places for part in parts])
    assert as_lists(whole.compute()) == brute_force(maps, numbers, 9)


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh])
def test_an_activation_still_to_come_is_as_good_as_one_applied_before(activation: Callable[[Tensor], Tensor]) -> None:
    maps = torch.randint(-4, 3, (40, 6, 5, 5), generator=torch.Generator().manual_seed(0)).float()  # many equal values
    before, after = TopActivations(6, keep=4), TopActivations(6, keep=4)
    for start in (24, 0, 12, 36):
        numbers = torch.arange(start, min(start + 12, 40))
        before.update(activation(maps[numbers]), numbers)
        after.update(maps[numbers], numbers, activation)
    for name, found in before.compute().items():
        assert torch.equal(found, after.compute()[name]), name


def test_sparseness_by_hand() -> None:
    """All alike: 0. One of four alone: 1. Two of four alike: (1 - 1/2) / (1 - 1/4). Never positive: 0."""
    maxima = torch.tensor([[2.0, 5.0, 3.0, -1.0], [2.0, 0.0, 3.0, -2.0], [2.0, -4.0, 0.0, -3.0], [2.0, 0.0, -1.0, -1.0]])
    metric = TopActivations(4)
    maps = torch.stack([maxima, maxima - 1], 2)[..., None]  # two places each, the first is the stronger one
    for start in (0, 3):
        metric.update(maps[start : start + 3], torch.arange(start, min(start + 3, 4)))
    torch.testing.assert_close(metric.compute()["sparseness"], torch.tensor([0.0, 1.0, 2 / 3, 0.0]))
