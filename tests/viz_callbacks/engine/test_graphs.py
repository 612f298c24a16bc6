"""Sums, joins, gates and functions on the way back: against autograd, which knows the true derivative where nothing is held."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.viz_callbacks.engine.networks import Does
from viz_callbacks.engine.backward import backproject
from viz_callbacks.engine.feature_maps import feature_maps
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.function_layers import Product
from viz_callbacks.engine.receptive_field import receptive_field


def parts(run: Callable[[Does, Tensor], object]) -> Does:
    """Linear layers alone, so that the way back is the derivative."""
    torch.manual_seed(0)
    network = Does(
        run, conv=nn.Conv2d(4, 4, 3, padding=1), pool=nn.AvgPool2d(2, 1, 1), dense=nn.Linear(4, 4), up=nn.Upsample((5, 6))
    )
    network.double()
    network.register_buffer("scale", torch.rand(4, 1, 1, dtype=torch.float64))
    network.register_parameter("shift", nn.Parameter(torch.rand(4, 1, 1, dtype=torch.float64)))
    return network


def shuffled(x: Tensor) -> Tensor:
    """The channel shuffle of ShuffleNet."""
    images, channels, height, width = x.size()
    return torch.transpose(x.view(images, 2, channels // 2, height, width), 1, 2).contiguous().view(images, -1, height, width)


def in_place(self: Does, x: Tensor) -> object:
    y = self.conv(x)
    y += x
    y.mul_(2)
    return y + self.pool(y)[:, :, :-1, :-1]


LINEAR: list[Callable[[Does, Tensor], object]] = [
    lambda self, x: x + self.conv(x),
    lambda self, x: torch.add(self.conv(x), x, alpha=3),
    lambda self, x: self.conv(x) - x,
    lambda self, x: self.conv(x) + self.conv(x),
    lambda self, x: (y := self.conv(x)) + y,
    lambda self, x: self.conv(x) + self.conv(x).mean((2, 3), keepdim=True),  # one is spread out to the other's shape
    lambda self, x: torch.cat([x, self.conv(x)], 1),
    lambda self, x: torch.cat((self.conv(x), x, self.conv(x)), dim=2),
    lambda self, x: torch.cat([x, x], -1),
    lambda self, x: torch.stack([x, self.conv(x)]).sum(0),
    lambda self, x: torch.cat([self.conv(part) for part in (x, x)], 1),
    lambda self, x: torch.cat([x.chunk(2, 1)[1], x.chunk(2, 1)[0]], 1) + self.conv(x),
    lambda self, x: self.conv(x)[:, ::2, 1:] + torch.split(x, 2, 1)[0][:, :, 1:],
    lambda self, x: torch.cat(x.chunk(2, 1), 2),
    lambda self, x: shuffled(self.conv(x)),
    lambda self, x: x * self.scale + self.shift,
    lambda self, x: (x - 0.5) / 0.25,
    lambda self, x: 2 * self.conv(x) / x.shape[1],
    lambda self, x: 1 - self.conv(x),
    lambda self, x: self.dense(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    lambda self, x: self.conv(x).mean([2, 3]).unsqueeze(-1),
    lambda self, x: F.adaptive_avg_pool2d(self.conv(x), (2, 1)),
    lambda self, x: F.avg_pool2d(x, x.shape[-2:]),
    lambda self, x: F.avg_pool2d(x, kernel_size=3, stride=1, padding=1),
    lambda self, x: F.interpolate(self.conv(x), size=x.shape[2:], mode="bilinear") + F.pad(x, [0, 0, 1, 1])[:, :, 1:-1],
    lambda self, x: F.interpolate(self.pool(x), size=self.conv(x).shape[2:]),
    lambda self, x: F.conv2d(x, self.conv.weight - self.conv.weight.mean(), self.conv.bias, padding=1),
    lambda self, x: self.conv(x).float().double(),
    lambda self, x: F.dropout(self.conv(x), 0.5, self.training),
    lambda self, x: self.pool(x).mean((2, 3), keepdim=True).expand_as(self.conv(x)),
    lambda self, x: self.conv(x).flatten(2).view_as(x) + x.flatten(1).reshape_as(other=self.conv(x)),
    lambda self, x: torch.cat([self.conv(x), torch.zeros_like(x), x.new_ones(x.shape)], 1),
    in_place,
]


@pytest.mark.parametrize("run", LINEAR)
def test_what_is_linear_goes_back_by_its_derivative(run: Callable[[Does, Tensor], object]) -> None:
    network, x = parts(run), torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    traces = record(network.train(), x)
    output = network.eval()(x * 1)
    torch.testing.assert_close(traces[-1].output, output)
    value = torch.randn_like(output)
    expected = torch.autograd.grad(output, x, value)[0]
    tolerance = 1e-5 if any(trace.output.dtype == torch.float32 for trace in traces) else 1e-12
    torch.testing.assert_close(backproject(traces, value), expected, rtol=tolerance, atol=tolerance)


def excited(self: Does, x: Tensor) -> Tensor:
    y: Tensor = self.conv(x)
    return torch.sigmoid(self.conv(F.adaptive_avg_pool2d(y, 1)))


GATED: list[tuple[Callable[[Does, Tensor], object], int]] = [
    (lambda self, x: self.conv(x) * excited(self, x), 1),
    (lambda self, x: (y := self.conv(x)) * torch.sigmoid(self.pool(y)[:, :, 1:, 1:]), 1),
    (lambda self, x: torch.sigmoid(y := self.conv(x)) * y, 0),
    (lambda self, x: torch.mul(self.conv(x), F.hardsigmoid(self.pool(x)[:, :, 1:, 1:])), 1),
    (lambda self, x: self.conv(x) * F.interpolate(torch.sigmoid(F.avg_pool2d(x, 2)), size=x.shape[2:]), 1),
    (lambda self, x: self.up(torch.sigmoid(F.avg_pool2d(x, 2))) * self.conv(x), 0),
    (lambda self, x: self.conv(x) * torch.sigmoid(x.mean((2, 3))).view(-1, 4, 1, 1).expand_as(x), 1),
]


@pytest.mark.parametrize(("run", "gate"), GATED)
def test_a_gate_is_held_like_a_switch(run: Callable[[Does, Tensor], object], gate: int) -> None:
    network, x = parts(run), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    traces = record(network, x)
    product = traces[-1]
    assert isinstance(product.layer, Product)
    assert product.layer.gate == gate
    value = torch.randn_like(product.output)
    pixels = x.clone().requires_grad_()
    held = network.conv(pixels) * product.inputs[gate]  # every network above gates its convolution
    torch.testing.assert_close(backproject(traces, value), torch.autograd.grad(held, pixels, value)[0])


@pytest.mark.parametrize("run", [lambda self, x: F.relu(self.conv(x)), lambda self, x: self.conv(x).relu_().clamp(0, 6)])
def test_functions_that_rectify_rectify_on_the_way_back(run: Callable[[Does, Tensor], object]) -> None:
    network, x = parts(run), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    traces = record(network, x)
    value, pixels = torch.randn_like(traces[-1].output), x.clone().requires_grad_()
    expected = torch.autograd.grad(network.conv(pixels), pixels, value.clamp(min=0))[0]
    torch.testing.assert_close(backproject(traces, value), expected)


def test_a_max_pool_by_a_function_has_switches() -> None:
    network, x = (
        parts(lambda self, x: F.max_pool2d(x, 3, stride=2, ceil_mode=True)),
        torch.randn(1, 4, 6, 6, requires_grad=True),
    )
    traces = record(network, x)
    value = torch.randn_like(traces[-1].output)
    expected = torch.autograd.grad(F.max_pool2d(x, 3, 2, ceil_mode=True), x, value)[0]
    torch.testing.assert_close(backproject(traces, value), expected)


def test_what_a_layer_overwrites_in_place_is_what_comes_after_it() -> None:
    """As in a pre-activation block whose rectifier works in place: the shortcut takes the rectified value."""

    def run(self: Does, x: Tensor) -> object:
        y = self.pool(x)
        return self.relu(y) + y

    for inplace, times in ((True, 2), (False, None)):
        network, x = Does(run, relu=nn.ReLU(inplace=inplace), pool=nn.AvgPool2d(1)), torch.randn(1, 2, 3, 3)
        traces = record(network, x)
        assert torch.equal(traces[-1].output, network(x.clone()))
        if times:
            assert torch.equal(backproject(traces, torch.ones(1, 2, 3, 3)), torch.full((1, 2, 3, 3), 2.0))
            assert traces[-1].sources == ("relu",)


def test_a_layer_norm_by_a_function_is_the_layer() -> None:
    """As in ConvNeXt, whose norm over channels derives from nn.LayerNorm and permutes around it."""

    class OverChannels(nn.LayerNorm):
        def forward(self, input: Tensor) -> Tensor:
            last = input.permute(0, 2, 3, 1)
            return F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)

    norm, x = OverChannels(4, dtype=torch.float64), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    nn.init.normal_(norm.weight)
    traces = record(nn.Sequential(norm), x)
    assert [trace.name for trace in traces] == ["permute", "layer_norm", "permute_1"]
    value = torch.randn_like(x)
    expected = value * norm.weight.detach()[:, None, None] / (x.var(1, correction=0, keepdim=True) + norm.eps).sqrt()
    torch.testing.assert_close(backproject(traces, value), expected)


class GroupNormAct(nn.GroupNorm):
    """As in timm: a group norm with its activation."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps))


class InstanceNormAct(nn.InstanceNorm2d):
    """The same of an instance norm."""

    def forward(self, input: Tensor) -> Tensor:
        own = not self.track_running_stats
        return F.relu(F.instance_norm(input, self.running_mean, self.running_var, self.weight, self.bias, own, eps=self.eps))


@pytest.mark.parametrize(
    "norm",
    [
        GroupNormAct(2, 4),
        GroupNormAct(4, 4, affine=False),
        InstanceNormAct(4, affine=True),
        InstanceNormAct(4, affine=True, track_running_stats=True),
    ],
)
def test_a_group_or_instance_norm_by_a_function_is_the_layer(norm: GroupNormAct | InstanceNormAct) -> None:
    """Their own rules are compared with plain ones; here it is that a function is the layer."""
    layer = norm.double().eval()
    for tensor in layer.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2)
    torchs = copy.deepcopy(layer)
    plain: type[nn.Module] = nn.GroupNorm if isinstance(layer, nn.GroupNorm) else nn.InstanceNorm2d
    torchs.__class__ = plain  # type: ignore[assignment]  # the same weights, as the plain layer
    conv, images = nn.Conv2d(3, 4, 3, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    ours, theirs = (record(nn.Sequential(conv, *rest), images) for rest in ([layer], [torchs, nn.ReLU()]))
    assert torch.equal(feature_maps(ours, "0"), feature_maps(theirs, "0"))
    assert receptive_field(ours) == receptive_field(theirs)
    value = torch.randn_like(ours[-1].output)
    torch.testing.assert_close(backproject(ours, value), backproject(theirs, value))


class FrozenNorm(nn.Module):
    """As torchvision freezes a batch norm: arithmetic with buffers."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("weight", "bias", "mean"):
            self.register_buffer(name, torch.randn(4))
        self.register_buffer("variance", torch.rand(4) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.get_buffer("weight") * (self.get_buffer("variance") + 1e-5).rsqrt()
        shift = self.get_buffer("bias") - self.get_buffer("mean") * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class NormAndActivation(nn.BatchNorm2d):
    """As in timm: a batch norm with its activation."""

    def forward(self, input: Tensor) -> Tensor:
        normed = F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps)
        return F.relu(normed, inplace=True)


def test_norms_that_are_arithmetic_stand_between_a_convolution_and_its_activation() -> None:
    torch.manual_seed(0)
    conv, images = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    norm = NormAndActivation(4)
    nn.init.normal_(norm.weight)
    frozen = FrozenNorm()
    linear: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = [
        (nn.Sequential(conv, frozen, nn.ReLU()), frozen),
        (nn.Sequential(conv, norm), lambda x: nn.BatchNorm2d.forward(norm, x)),
    ]
    for network, normed in linear:
        traces = record(network, images)
        assert torch.equal(feature_maps(traces, "0"), network.eval()(images))
        assert receptive_field(traces).size == (3, 3)
        value, pixels = torch.rand(2, 4, 6, 6), images.clone().requires_grad_()
        expected = torch.autograd.grad(normed(conv(pixels)), pixels, value)[0]
        torch.testing.assert_close(backproject(traces, value), expected)


@pytest.mark.parametrize("cast", [lambda y, x: y.to(x.dtype), lambda y, x: y.type_as(x), lambda y, x: y.to(x)])
def test_a_change_to_the_type_that_a_value_has_already(cast: Callable[[Tensor, Tensor], Tensor]) -> None:
    network = Does(lambda self, x: cast(self.conv(x).float(), x), conv=nn.Conv2d(3, 4, 3))
    images = torch.randn(2, 3, 8, 8)
    traces = record(network, images)
    value = torch.randn_like(traces[-1].output)
    torch.testing.assert_close(backproject(traces, value), backproject(record(nn.Sequential(network.conv), images), value))
