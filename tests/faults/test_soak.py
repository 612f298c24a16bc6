"""The soak's own arithmetic; the soak itself is a command, ``python -m tests.faults.soak``."""

import random
from itertools import islice

import pytest

from tests.faults.soak import disk_per_epoch, growth, kinds
from tests.faults.soaked_run import FAULTS, Sample


def test_what_grows_is_seen_and_what_varies_is_flat() -> None:
    rng = random.Random(1)
    varying = [Sample(epoch, rng.choice((99, 100)), 9, 20, 5000) for epoch in range(1, 301)]
    leaking = [Sample(epoch, 100 + epoch, 9, 20 + epoch // 50, 5000 + 700 * epoch) for epoch in range(1, 301)]
    assert growth(varying, "memory") == 1
    assert growth(leaking, "memory") > 1.5
    assert growth(leaking, "files") == pytest.approx(26 / 22)
    assert (disk_per_epoch(varying), disk_per_epoch(leaking)) == (0, 700)
    assert growth(varying[:1], "memory") == 1, "the shortest run has one epoch"


def test_every_fault_has_its_turn() -> None:
    order = list(islice(kinds(random.Random(1)), 3 * len(FAULTS)))
    assert all(order.count(fault) == 3 for fault in FAULTS)
