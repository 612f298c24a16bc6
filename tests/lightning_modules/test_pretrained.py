"""Starting weights: torchvision's compute what they do there, a run's come as they are, and the last layer fits the classes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from configs import ModelSettings, Settings, SettingsError
from configs.parser import parse
from datamodules.datamodule import MEAN, STD
from lightning_modules.networks.registry import build_network
from lightning_modules.pretrained import IMAGENET_MEAN, IMAGENET_STD, from_torchvision, load_weights


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def saved(file: Path, model: ModelSettings, class_names: list[str], weights: dict[str, Tensor]) -> ModelSettings:
    """Write a run's checkpoint, and return the settings that start from it."""
    state = {f"network.{name}": value for name, value in weights.items()} | {"auxiliary.weight": torch.zeros(3)}
    torch.save({"settings": asdict(Settings(model=model)), "class_names": class_names, "state_dict": state}, file)
    return ModelSettings(**{**asdict(model), "weights": str(file)})


def start(model: ModelSettings, class_names: list[str], network: nn.Sequential | None = None) -> str:
    return load_weights(network or nn.Sequential(), model, class_names, MEAN, STD)


def test_the_first_layer_sees_the_image_that_it_was_trained_on() -> None:
    """Whatever the normalisation; all but the outputs whose window has some padding in it."""
    torch.manual_seed(1)
    theirs, ours = (nn.Conv2d(3, 64, 11, stride=4, padding=2) for _ in range(2))
    weights = {f"features.0.{name}": value for name, value in theirs.state_dict().items()}
    ours.load_state_dict({name.removeprefix("conv1."): value for name, value in from_torchvision(weights, MEAN, STD).items()})
    images = torch.rand(2, 3, 224, 224)
    expected, found = theirs(normalised(images, IMAGENET_MEAN, IMAGENET_STD)), ours(normalised(images, MEAN, STD))
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-5, rtol=1e-4)
    assert (found - expected).abs().max() > 1e-3, "the padding is another grey"


@pytest.mark.slow
def test_torchvisions_alexnet_computes_here_what_it_does_there(tmp_path: Path) -> None:
    """To the last layer, where the mean is the same, and so the padding."""
    theirs = torchvision.models.alexnet(weights=None, num_classes=5).eval()
    for layer in theirs.modules():  # biases that count
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            nn.init.normal_(layer.bias, std=0.1)
    network = build_network(ModelSettings(name="alexnet-torchvision", norm="none"), 5).eval()
    network.load_state_dict(from_torchvision(theirs.state_dict(), IMAGENET_MEAN, STD))
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs(normalised(images, IMAGENET_MEAN, IMAGENET_STD))
        torch.testing.assert_close(network(normalised(images, IMAGENET_MEAN, STD)), expected, atol=1e-5, rtol=1e-4)
    torch.save(theirs.state_dict(), tmp_path / "alexnet.pth")
    fresh = build_network(ModelSettings(name="alexnet-torchvision", norm="none"), 5)
    last = fresh.get_parameter("fc8.weight").clone()
    model = parse(["model=alexnet-torchvision", f"model.weights={tmp_path / 'alexnet.pth'}"]).model
    said = start(model, list("abcde"), fresh)
    assert said == f"Weights from {tmp_path / 'alexnet.pth'} (torchvision); fc8 is new, as the classes differ"
    assert torch.equal(fresh.get_parameter("fc8.weight"), last)
    for ours, layer in (("conv2", "features.3"), ("conv5", "features.10"), ("fc6", "classifier.1"), ("fc7", "classifier.4")):
        for name in ("weight", "bias"):
            assert torch.equal(fresh.get_parameter(f"{ours}.{name}"), theirs.get_parameter(f"{layer}.{name}"))


@pytest.mark.slow
def test_a_runs_weights_are_taken_and_the_last_layer_is_new_for_new_classes(tmp_path: Path) -> None:
    model = ModelSettings(name="zfnet", norm="batch")
    weights = build_network(model, 3).state_dict()
    model = saved(tmp_path / "best.ckpt", model, ["ant", "bee", "cat"], weights)
    for class_names, new in ((["ant", "bee", "cat"], False), (["ant", "bee", "dog"], True), (["a", "b"], True)):
        network = build_network(model, len(class_names))
        before = {name: value.clone() for name, value in network.state_dict().items()}
        said = start(model, class_names, network)
        assert said.endswith("fc8 is new, as the classes differ" if new else "all layers")
        assert "(3 classes)" in said
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name] if new and name.startswith("fc8.") else weights[name]), name


@pytest.mark.parametrize(
    ("held", "asked", "remedy"),
    [
        ({"name": "zfnet"}, {}, "holds another network; add model=zfnet"),
        ({}, {"name": "zfnet"}, "add model=alexnet"),
        ({"norm": "batch", "activation": "tanh"}, {}, "add model.activation=tanh model.norm=batch"),
        ({"conv1_size": 7}, {}, "add model.conv1_size=7"),
        ({"streams": 2}, {"pooling": "average"}, "add model.pooling=max model.streams=2"),
    ],
)
def test_another_network_is_refused_with_the_settings_that_it_needs(
    held: dict[str, Any], asked: dict[str, Any], remedy: str, tmp_path: Path
) -> None:
    saved(tmp_path / "x.ckpt", ModelSettings(**held), ["a"], {})
    with pytest.raises(SettingsError) as caught:
        start(ModelSettings(**asked, weights=str(tmp_path / "x.ckpt")), ["a"])
    assert str(caught.value).endswith(remedy)
    assert str(tmp_path / "x.ckpt") in str(caught.value)


def test_torchvisions_widths_are_not_ours(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11), "features.0.bias": torch.zeros(64)}, tmp_path / "alexnet.pth")
    with pytest.raises(
        SettingsError, match=r"torchvision's AlexNet, whose layers have other widths; add model=alexnet-torchvision$"
    ):
        start(ModelSettings(weights=str(tmp_path / "alexnet.pth")), ["a"])
    cut = ModelSettings(name="alexnet-torchvision", norm="none", weights=str(tmp_path / "alexnet.pth"))
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 64, 11))
    network.add_module("conv2", nn.Conv2d(64, 192, 5))
    with pytest.raises(SettingsError, match=r"has no conv2\.weight, conv2\.bias"):
        start(cut, ["a"], network)
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 65, 11))
    with pytest.raises(SettingsError, match=r"size mismatch for conv1") as caught:
        start(cut, ["a"], network)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [1, 2], {"model": {"layer4.0.conv1.weight": 1.0}}])
def test_a_file_that_is_neither_is_named(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(SettingsError, match=r"x\.ckpt holds (no network|a list, so it is no checkpoint) of this project"):
        start(ModelSettings(weights=str(tmp_path / "x.ckpt")), ["a"])
    with pytest.raises(SettingsError, match="no such checkpoint"):
        start(ModelSettings(weights=str(tmp_path / "none.ckpt")), ["a"])
