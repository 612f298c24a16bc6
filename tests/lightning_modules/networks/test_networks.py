"""AlexNet and ZFNet against the report's tables and formulas."""

import pytest
import torch
from torch import nn

from configs import ModelSettings
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from lightning_modules.networks.summary import LayerSummary, layer_table, summarize_layers

# filters, filter side, stride, padding of each convolution (report, sections 3 and 4; ZFNet: Zeiler and Fergus, Figure 3;
# torchvision: the shapes of its weights)
ALEXNET = {
    "conv1": (96, 11, 4, 0),
    "conv2": (256, 5, 1, 2),
    "conv3": (384, 3, 1, 1),
    "conv4": (384, 3, 1, 1),
    "conv5": (256, 3, 1, 1),
}
ZFNET = {
    "conv1": (96, 7, 2, 1),
    "conv2": (256, 5, 2, 0),
    "conv3": (384, 3, 1, 1),
    "conv4": (384, 3, 1, 1),
    "conv5": (256, 3, 1, 1),
}
TORCHVISION = {
    "conv1": (64, 11, 4, 2),
    "conv2": (192, 5, 1, 2),
    "conv3": (384, 3, 1, 1),
    "conv4": (256, 3, 1, 1),
    "conv5": (256, 3, 1, 1),
}
CONVOLUTIONS = {"alexnet": ALEXNET, "zfnet": ZFNET, "alexnet-torchvision": TORCHVISION}
SIDES = {
    "alexnet": {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv3": 13, "conv4": 13, "conv5": 13, "pool5": 6},
    "zfnet": {"conv1": 110, "pool1": 55, "conv2": 26, "pool2": 13, "conv3": 13, "conv4": 13, "conv5": 13, "pool5": 6},
    "alexnet-torchvision": {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv5": 13, "pool5": 6},
}


@pytest.fixture(params=["alexnet", "zfnet", "alexnet-torchvision"], scope="module")
def architecture(request: pytest.FixtureRequest) -> tuple[str, nn.Sequential, dict[str, LayerSummary]]:
    name = str(request.param)
    network = build_network(ModelSettings(name=name), 1000)
    return name, network, {row.name: row for row in summarize_layers(network, IMAGE_SIZES[name])}


def test_shapes_parameters_and_multiply_adds_follow_the_formulas(
    architecture: tuple[str, nn.Sequential, dict[str, LayerSummary]],
) -> None:
    name, _, rows = architecture
    side, depth = IMAGE_SIZES[name], 3
    for layer, (filters, size, stride, padding) in CONVOLUTIONS[name].items():
        side = (side - size + 2 * padding) // stride + 1  # W2 = (W1 - F + 2P) / S + 1
        assert rows[layer].shape == (filters, side, side)
        assert rows[layer].parameters == filters * (size * size * depth + 1)
        assert rows[layer].macs == filters * side * side * size * size * depth
        depth = filters
        if (pool := layer.replace("conv", "pool")) in rows:
            hangs_over = name == "zfnet" and pool != "pool5"
            side = -(-(side - 3) // 2) + 1 if hangs_over else (side - 3) // 2 + 1  # W2 = (W1 - F) / S + 1
            assert rows[pool].shape == (depth, side, side)
    assert {layer: rows[layer].shape[1] for layer in SIDES[name]} == SIDES[name]
    for layer, inputs, outputs in (("fc6", 9216, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000)):
        assert rows[layer].shape == (outputs,)
        assert rows[layer].parameters == (inputs + 1) * outputs
        assert rows[layer].macs == inputs * outputs


def test_parameters_in_all(architecture: tuple[str, nn.Sequential, dict[str, LayerSummary]]) -> None:
    name, network, rows = architecture
    expected = {"alexnet": 62_378_344, "zfnet": 62_357_608, "alexnet-torchvision": 61_100_840}[name]
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    assert sum(row.parameters for row in rows.values()) == expected
    assert layer_table(list(rows.values()), name).columns[3].footer == f"{expected:,}"


def test_order_of_the_layers(architecture: tuple[str, nn.Sequential, dict[str, LayerSummary]]) -> None:
    _, network, _ = architecture
    assert " ".join(dict(network.named_children())) == (
        "conv1 act1 pool1 norm1 conv2 act2 pool2 norm2 conv3 act3 conv4 act4 conv5 act5 pool5 flatten "
        "fc6 act6 drop6 fc7 act7 drop7 fc8"
    )
    assert [layer.p for layer in network if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


def test_table_runs_nothing_and_changes_nothing() -> None:
    network = build_network(ModelSettings(name="alexnet"), 10).train()
    before = next(network.parameters()).clone()
    summarize_layers(network, 227)
    assert network.training
    assert torch.equal(before, next(network.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "stride", "side"), [(7, 4, 56), (7, 2, 111)])
def test_the_first_layer_takes_zfnets_steps(size: int, stride: int, side: int) -> None:
    network = build_network(ModelSettings(name="alexnet", conv1_size=size, conv1_stride=stride), 10).eval()
    assert network[0].weight.shape == (96, 3, size, size)
    with torch.no_grad():
        assert network[0](torch.zeros(1, 3, 227, 227)).shape[2:] == (side, side)
        assert network(torch.zeros(1, 3, 227, 227)).shape == (1, 10)


def test_two_streams_see_half_of_the_maps() -> None:
    network = build_network(ModelSettings(name="alexnet", streams=2), 1000)
    assert {name: layer.groups for name, layer in network.named_children() if isinstance(layer, nn.Conv2d)} == {
        "conv1": 1, "conv2": 2, "conv3": 1, "conv4": 2, "conv5": 2,
    }  # fmt: skip
    assert sum(parameter.numel() for parameter in network.parameters()) == 60_965_224  # Krizhevsky: 60 million


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "zfnet"])
@pytest.mark.parametrize(
    ("activation", "pooling", "norm"),
    [("leaky_relu", "max", "none"), ("tanh", "average", "batch"), ("sigmoid", "l2", "lrn")],
)
def test_variants_run_and_learn(name: str, activation: str, pooling: str, norm: str) -> None:
    network = build_network(ModelSettings(name=name, activation=activation, pooling=pooling, norm=norm), 5)
    size = IMAGE_SIZES[name] if pooling == "l2" else 99
    logits = network(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    first = network.get_submodule("conv1")
    assert isinstance(first, nn.Conv2d)
    assert first.weight.grad is not None
    assert first.weight.grad.isfinite().all()
    assert first.weight.grad.any()


@pytest.mark.slow
@pytest.mark.parametrize("size", [67, 131, 227, 260])
def test_one_network_takes_images_of_any_size(size: int) -> None:
    for name in ("alexnet", "zfnet"):
        assert summarize_layers(build_network(ModelSettings(name=name), 7), size)[-1].shape == (7,)
