"""The table of torchvision's networks in docs/own-networks.md: complete, true for its lightest third, and able to fail."""

import pytest
import torchvision
from torch import nn

from tools import architectures
from viz_callbacks.engine.backward import BACKWARD_RULES, identity

PAGE = {name: [cell.strip() for cell in row.strip("| ").split(" | ")] for name, row in architectures.documented().items()}
CONVOLUTIONAL = [name for name, cells in PAGE.items() if not cells[-1].startswith("a transformer")]
LIGHTEST_THIRD = sorted(CONVOLUTIONAL, key=lambda name: float(PAGE[name][1]))[: len(PAGE) // 3 + 1]


def test_every_network_has_a_row_and_nine_in_ten_are_whole() -> None:
    assert set(PAGE) == set(torchvision.models.list_models(torchvision.models))
    whole = [name for name in CONVOLUTIONAL if architectures.documented()[name].endswith("| yes | to 1e-12 |  |")]
    assert len(whole) >= 0.9 * len(CONVOLUTIONAL)
    for name in whole:
        looked_at, layers = PAGE[name][3].split(" of ")
        assert looked_at == layers


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHTEST_THIRD)
def test_a_row_is_what_the_program_finds(name: str) -> None:
    assert str(architectures.examine(name)) == architectures.documented()[name]


@pytest.mark.slow
def test_a_wrong_rule_shows_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKWARD_RULES, nn.BatchNorm2d, identity)
    row = architectures.examine("shufflenet_v2_x0_5")
    assert row.denet
    assert row.error is not None
    assert row.error > 0.01
    assert "differs by" in str(row)


@pytest.mark.slow
def test_a_layer_without_a_rule_shows_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(BACKWARD_RULES, nn.ReLU)
    row = architectures.examine("squeezenet1_1")
    assert not row.denet
    assert row.looked_at == 1, "that below it"
    assert "No backward rule is known for the layer 'features.1', a ReLU" in str(row)


def test_a_name_that_torchvision_lacks_is_named() -> None:
    with pytest.raises(SystemExit, match="There is no resnet19 among torchvision's networks: alexnet, "):
        architectures.main(["resnet19"])
