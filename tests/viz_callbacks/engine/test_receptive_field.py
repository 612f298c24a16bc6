"""Receptive fields from geometry against the papers' arithmetic and against autograd."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from configs import ModelSettings
from lightning_modules.networks.registry import build_network
from viz_callbacks.engine.feature_maps import trace_up_to
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.receptive_field import ReceptiveField, receptive_field


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("alexnet", {"conv1": (11, 4), "conv2": (51, 8), "conv3": (99, 16), "conv4": (131, 16), "conv5": (163, 16)}),
        ("zfnet", {"conv1": (7, 2), "conv2": (27, 8), "conv3": (75, 16), "conv4": (107, 16), "conv5": (139, 16)}),
    ],
)
def test_fields_of_the_two_networks_are_those_of_the_papers_arithmetic(name: str, fields: dict[str, tuple[int, int]]) -> None:
    network = build_network(ModelSettings(name=name), 3).eval()
    traces = record(network, torch.randn(1, 3, 99, 99))
    for layer, (size, stride) in fields.items():
        field = receptive_field(trace_up_to(traces, layer))
        assert (field.size, field.stride) == ((size, size), (stride, stride))


def convolutions(into: int) -> st.SearchStrategy[nn.Conv2d]:
    kernel, stride, padding, dilation = st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)
    return st.builds(nn.Conv2d, st.just(into), st.just(2), kernel, stride, padding, dilation)


@settings(deadline=None, max_examples=60)
@given(convolutions(1), convolutions(2), st.integers(20, 30))
def test_a_unit_depends_on_the_pixels_of_its_field_alone(first: nn.Conv2d, second: nn.Conv2d, side: int) -> None:
    network = nn.Sequential(first, nn.Tanh(), nn.AvgPool2d(2, 1), second).double()
    images = torch.randn(1, 1, side, side + 3, dtype=torch.float64, requires_grad=True)
    output = network(images)
    field = receptive_field(record(network, images))
    for row, column in [(0, 0), (output.shape[2] - 1, output.shape[3] // 2)]:
        (gradient,) = torch.autograd.grad(output[0, :, row, column].sum(), images, retain_graph=True)
        seen = torch.zeros_like(gradient, dtype=torch.bool)
        top, left, bottom, right = field.box(row, column)
        seen[..., max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
        assert not gradient[~seen].any()
        rows, columns = gradient[0, 0].nonzero(as_tuple=True)
        if 0 <= top < bottom <= side and 0 <= left < right <= side + 3:
            reached = [int(each) for each in (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)]
            assert reached == [top, left, bottom, right], "and on no fewer"


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 0), (9, 1), (-5, -5)])
def test_what_a_unit_sees_is_cut_from_the_image_with_nothing_around_it(row: int, column: int) -> None:
    field, image = ReceptiveField(size=(6, 5), stride=(4, 3), start=(-3, -1)), torch.rand(3, 11, 8)
    top, left, bottom, right = field.box(row, column)
    around = 40
    assert torch.equal(
        field.crop(image, row, column),
        F.pad(image, (around,) * 4)[:, top + around : bottom + around, left + around : right + around],
    )


def test_a_unit_sees_what_it_sees_through_any_branch() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Conv2d(1, 2, 3, 2, padding=1), nn.Conv2d(1, 2, 5, 2, padding=(4, 0), dilation=(2, 1))
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Sigmoid())

        def forward(self, x: torch.Tensor) -> object:
            far = self.far(x)
            return torch.cat([self.near(x)[:, :, : far.shape[2], : far.shape[3]], far], 1)

    network, images = Branches().double(), torch.randn(1, 1, 24, 24, dtype=torch.float64, requires_grad=True)
    traces = [trace for trace in record(network, images) if trace.name != "getitem"]
    traces[-1] = LayerTrace("cat", traces[-1].layer, traces[-1].inputs, ("near", "far"), traces[-1].output)
    field = receptive_field(traces)
    (gradient,) = torch.autograd.grad(network(images)[0, :, 5, 4].sum(), images)
    rows, columns = gradient[0, 0].nonzero(as_tuple=True)
    assert (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1) == field.box(5, 4)


def test_layers_without_windows_of_one_size_are_named() -> None:
    traces = record(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveMaxPool2d(2), nn.Conv2d(2, 2, 1)), torch.randn(1, 3, 9, 9))
    with pytest.raises(ValueError, match="'1', a AdaptiveMaxPool2d, has no windows of one size"):
        receptive_field(traces)
