"""Projections of single activations inside their receptive fields against projections of whole images."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from configs import ModelSettings
from lightning_modules.networks.registry import build_network
from viz_callbacks.engine.feature_maps import trace_up_to
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.receptive_field import receptive_field
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.unit_projection import Units, project_units, strongest_units


def single_start(units: Units, number: int) -> Callable[[Tensor], Tensor]:
    """The start for ``deconvolution``: all of the layer's activations 0 but one."""

    def select(maps: Tensor) -> Tensor:
        start = torch.zeros_like(maps)
        place = tuple(int(each[number]) for each in (units.images, units.maps, units.rows, units.columns))
        start[place] = maps[place]
        return start

    return select


def between(first: int, last: int, length: int) -> slice:
    """The part of a span that lies in the image; empty where padding lets a unit see nothing of it."""
    return slice(min(max(0, first), length), max(0, min(length, last)))


def assert_equal_to_whole(traces: Sequence[LayerTrace], layer: str, units: Units, memory_limit: int = 1 << 30) -> None:
    """Inside its field each picture equals the whole projection, outside the whole projection is 0."""
    below = trace_up_to(traces, layer)
    field = receptive_field(below)
    pictures = project_units(below, units, memory_limit)
    assert pictures.shape == (len(units), traces[0].input.shape[1], *field.size)
    for number in range(len(units)):
        whole = deconvolution(traces, layer, single_start(units, number))[units.images[number]]
        top, left, bottom, right = field.box(int(units.rows[number]), int(units.columns[number]))
        pasted = torch.zeros_like(whole)
        height, width = whole.shape[1:]
        inside = (between(top, bottom, height), between(left, right, width))
        shifted = (slice(inside[0].start - top, inside[0].stop - top), slice(inside[1].start - left, inside[1].stop - left))
        pasted[:, inside[0], inside[1]] = pictures[number][:, shifted[0], shifted[1]]
        assert (pasted - whole).abs().max() <= 1e-6 * max(1.0, float(whole.abs().max()))
        outside = pictures[number].clone()
        outside[:, shifted[0], shifted[1]] = 0
        assert not outside.any(), "what lies outside of the image is 0"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "zfnet"])
@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv3", "conv5"])
def test_single_activations_of_the_two_networks(name: str, layer: str) -> None:
    torch.manual_seed(0)
    network = build_network(ModelSettings(name=name), 3).eval()
    traces = record(network, torch.randn(2, 3, 131, 115))
    units = strongest_units(trace_up_to(traces, layer)[-1].output)
    some = torch.randperm(len(units))[:12]
    picked = Units(units.images[some], units.maps[some], units.rows[some], units.columns[some])
    assert_equal_to_whole(traces, layer, picked)


geometry = st.tuples(
    st.integers(1, 4),  # kernel
    st.integers(1, 5),  # stride
    st.integers(0, 2),  # padding
    st.integers(1, 2),  # dilation
)


@settings(deadline=None, max_examples=60)
@given(geometry, geometry, st.booleans(), st.integers(1, 2), st.data())
def test_any_geometry(first: tuple[int, ...], pool: tuple[int, ...], ceil_mode: bool, groups: int, data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    (k, s, a, d), (pk, ps, pa, pd) = first, pool
    network = nn.Sequential(
        nn.Conv2d(3, 4, k, s, a, d),
        nn.ReLU(),
        nn.MaxPool2d(pk, ps, min(pa, pk // 2), pd, ceil_mode=ceil_mode),
        nn.Conv2d(4, 6, 2, 1, 1, groups=groups),
        nn.ReLU(),
    )
    side = data.draw(st.integers(16, 30))
    images = torch.randn(2, 3, side, side + 3, dtype=torch.float64)
    try:
        traces = record(network.double(), images)
    except RuntimeError:  # torch refuses a map without rows
        return
    units = strongest_units(traces[-1].output)
    assert_equal_to_whole(traces, "3", units)


def test_oblong_kernels_and_strides() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, (5, 3), (3, 2), (0, 1)), nn.ReLU(), nn.Conv2d(4, 5, (2, 3), padding=(1, 0)), nn.ReLU()
    )
    traces = record(network, torch.randn(2, 3, 30, 26))
    assert_equal_to_whole(traces, "2", strongest_units(traces[-1].output))


@pytest.mark.parametrize("pool", [nn.AvgPool2d(3, 2, ceil_mode=True), nn.LPPool2d(2, 3, 2)])
def test_pools_that_share_values_out_take_the_plain_way(pool: nn.Module) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), pool, nn.Conv2d(4, 5, 3, padding=1), nn.LeakyReLU(0.1))
    traces = record(network, torch.randn(2, 3, 30, 26))
    assert_equal_to_whole(traces, "3", strongest_units(traces[-1].output))


def test_a_small_memory_limit_changes_nothing() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    traces = record(network, torch.randn(2, 3, 40, 40))
    units = strongest_units(traces[-1].output)
    torch.testing.assert_close(project_units(traces, units, memory_limit=1), project_units(traces, units))
    assert project_units(traces, units[0:0]).shape == (0, 3, *receptive_field(traces).size)


def test_the_strongest_unit_is_the_first_of_equals() -> None:
    maps = torch.zeros(1, 2, 3, 4)
    maps[0, 1, 1, 2] = maps[0, 1, 2, 0] = 5
    units = strongest_units(maps)
    assert [each.tolist() for each in (units.images, units.maps, units.rows, units.columns)] == [[0, 0], [0, 1], [0, 1], [0, 2]]


def test_a_border_that_has_no_way_back_is_refused() -> None:
    traces = record(nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect")), torch.randn(1, 3, 9, 9))
    with pytest.raises(ValueError, match="padding_mode 'reflect' has no windows of one size"):
        project_units(traces, strongest_units(traces[-1].output))
