"""The layers that torch lacks, against torch's slower ones and against plain loops."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_modules.networks.layers import (
    LocalResponseNorm,
    activation,
    adaptive_pool,
    initialise,
    norm,
    pool,
    pool_before_relu,
)
from tests.small_network import small_network

Values = NDArray[np.float64]


def values_and_gradients(function: Callable[[Tensor], Tensor], a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    a = a.clone().requires_grad_()
    b = function(a)
    (gradient,) = torch.autograd.grad(b, a, g)
    return b.detach(), gradient


@pytest.mark.parametrize("channels", [96, 256, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_norm_equals_torchs_in_values_and_gradients(channels: int, memory_format: torch.memory_format, scale: float) -> None:
    torch.manual_seed(0)
    a = (scale * torch.randn(3, channels, 9, 7)).to(memory_format=memory_format)
    g = torch.randn_like(a)
    ours = values_and_gradients(LocalResponseNorm(channels), a, g)
    theirs = values_and_gradients(lambda x: F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0), a, g)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max()))


def test_norm_follows_the_papers_formula_word_for_word() -> None:
    a = np.random.default_rng(0).normal(size=(2, 7, 3, 3)) * 40
    expected = np.empty_like(a)
    for c in range(7):
        neighbours = a[:, max(0, c - 2) : min(7, c + 3)]
        expected[:, c] = a[:, c] / (2 + 1e-4 * (neighbours**2).sum(1)) ** 0.75
    ours = LocalResponseNorm(7).double()(torch.from_numpy(a)).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_norms_gradient_is_that_of_its_values() -> None:
    a = (10 * torch.randn(2, 6, 2, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(LocalResponseNorm(6, alpha=1e-2).double(), (a,))


def test_norm_learns_where_powers_are_taken_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast to bfloat16 does so on CUDA, not on the CPU: a stand-in for a GPU, on which the gradient once raised."""
    power = torch.Tensor.pow
    monkeypatch.setattr(torch.Tensor, "pow", lambda base, exponent: power(base.float(), exponent))
    a = torch.randn(2, 6, 3, 3)
    _, expected = values_and_gradients(LocalResponseNorm(6), a, torch.ones_like(a))
    values, gradients = values_and_gradients(LocalResponseNorm(6), a.bfloat16(), torch.ones_like(a).bfloat16())
    assert values.dtype == gradients.dtype == torch.bfloat16
    torch.testing.assert_close(gradients.float(), expected, atol=0.01, rtol=0.02)


def test_norm_says_what_torch_would_call_its_constants() -> None:
    ours = LocalResponseNorm(8)
    assert (ours.size, ours.beta, ours.k) == (5, 0.75, 2.0)
    assert ours.alpha == pytest.approx(5e-4)
    assert not list(ours.state_dict())


def test_l2_pool_is_the_norm_of_each_window_and_learns_where_all_is_0() -> None:
    a = torch.randn(1, 1, 7, 7)
    a[0, 0, :3, :3] = 0
    value, gradient = values_and_gradients(pool("l2"), a, torch.ones(1, 1, 3, 3))
    torch.testing.assert_close(value[0, 0, 1, 2], a[0, 0, 2:5, 4:7].norm())
    assert value[0, 0, 0, 0] == 0
    assert gradient.isfinite().all()


def test_last_pool_is_the_3x3_pool_on_full_size_maps() -> None:
    maps = torch.randn(2, 4, 13, 13)
    assert torch.equal(adaptive_pool("max")(maps), F.max_pool2d(maps, 3, 2))
    torch.testing.assert_close(adaptive_pool("average")(maps), F.avg_pool2d(maps, 3, 2))
    assert adaptive_pool("max")(maps[:, :, :9, :9]).shape == (2, 4, 6, 6)
    assert adaptive_pool("l2")(maps).shape == (2, 4, 6, 6)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("relu", lambda x: np.maximum(0, x)),
        ("leaky_relu", lambda x: np.maximum(0.01 * x, x)),
        ("tanh", np.tanh),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    ],
)
def test_activations_follow_the_reports_formulas(
    name: str, formula: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> None:
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    np.testing.assert_allclose(activation(name)(x.clone()).numpy(), formula(x.numpy()))


def test_unknown_names_are_refused() -> None:
    for build in (activation, pool):
        with pytest.raises(ValueError, match="nonsense"):
            build("nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        norm("nonsense", 8)


def test_he_initialisation_keeps_the_signals_size() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(layer for _ in range(10) for layer in (nn.Linear(400, 400), nn.ReLU())))
    initialise(network, "relu")
    x = torch.randn(200, 400)
    ratio = float(network(x).square().mean() / x.square().mean() * 2)  # after a rectifier half of the energy is left
    assert 0.5 < ratio < 2
    first = network[0]
    assert isinstance(first, nn.Linear)
    assert float(first.weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert not first.bias.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_before_rectifying_is_equal_to_the_last_bit(dtype: torch.dtype) -> None:
    network = small_network().eval().to(dtype)
    images = torch.randn(4, 3, 67, 67, dtype=dtype)
    images[0] = -images[0].abs() * 50  # windows without anything above 0
    found = []
    for order in (network, pool_before_relu(network)):
        network.zero_grad()
        logits = order(images)
        logits.square().sum().backward()
        found.append([logits.detach(), *(weight.grad.clone() for weight in network.parameters() if weight.grad is not None)])
    for in_order, reordered in zip(*found, strict=True):
        assert torch.equal(in_order, reordered)
    names = [type(layer).__name__ for layer in pool_before_relu(network)]
    assert names[:4] == ["Conv2d", "MaxPool2d", "ReLU", "LocalResponseNorm"]
    assert names[4:7] == ["Conv2d", "AdaptiveMaxPool2d", "ReLU"]
    assert [name for name, _ in network.named_children()][:3] == ["conv1", "act1", "pool1"]


def test_only_what_commutes_is_reordered() -> None:
    layers = [nn.ReLU(), nn.AvgPool2d(2), nn.Tanh(), nn.MaxPool2d(2), nn.ReLU()]
    assert list(pool_before_relu(nn.Sequential(*layers))) == layers
