"""Other people's networks, recorded and walked back as they are."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import NeuronDeconvolution
from lightning import LightningModule
from torch import Tensor, nn

from tests.viz_callbacks.engine.networks import Stem
from viz_callbacks.callbacks import DeconvolutionPictures, DeNetPictures, Probes
from viz_callbacks.engine.backward import BACKWARD_RULES, UnknownLayerError, backproject, backward_rule, identity
from viz_callbacks.engine.feature_maps import convolution_layers, feature_maps
from viz_callbacks.engine.forward import named_layers, record
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.methods.deconvolution import deconvolution, strongest_activation
from viz_callbacks.methods.denet import denet
from viz_callbacks.methods.top_activations import project_top_activations
from viz_callbacks.metrics.top_activations import TopActivationHooks


@pytest.fixture(scope="module", params=["alexnet", pytest.param("vgg11", marks=pytest.mark.slow)])
def torchvisions(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """A network of torchvision's with all its in-place rectifiers, in training, and images as small as it takes."""
    torch.manual_seed(0)
    network = getattr(torchvision.models, request.param)(weights=None)
    size = {"alexnet": 79, "vgg11": 33}[request.param]
    return network.train(), torch.randn(2, 3, size, size)


def in_a_row(network: nn.Module) -> nn.Sequential:
    """The same layers, put together by hand."""
    features, classifier = part(network, "features"), part(network, "classifier")
    return nn.Sequential(*features, network.get_submodule("avgpool"), nn.Flatten(), *classifier)


def part(network: nn.Module, name: str) -> nn.Sequential:
    found = network.get_submodule(name)
    assert isinstance(found, nn.Sequential)
    return found


def test_torchvisions_networks_are_recorded_as_they_are(torchvisions: tuple[nn.Module, Tensor]) -> None:
    network, images = torchvisions
    modes = [module.training for module in network.modules()]
    random_state = torch.get_rng_state()
    traces = record(network, images)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [module.training for module in network.modules()] == modes
    assert [trace.name for trace in traces[:2]] == ["features.0", "features.1"]
    assert [trace.name for trace in traces if "." not in trace.name] == ["avgpool", "flatten"]
    assert traces[-1].name == "classifier.6"
    with torch.no_grad():
        expected = network.eval()(images)
    network.train()
    assert torch.equal(traces[-1].output, expected)


def test_layers_are_the_networks_own(torchvisions: tuple[nn.Module, Tensor]) -> None:
    network, _ = torchvisions
    for (name, layer), own in zip(named_layers(network), in_a_row(network), strict=True):
        assert layer is own or (name == "flatten" and isinstance(layer, nn.Flatten))
        assert name == "flatten" or network.get_submodule(name) is own


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not", "ignore:Setting backward hooks")
def test_deconvolution_of_every_convolution_layer_equals_captum(torchvisions: tuple[nn.Module, Tensor]) -> None:
    network, images = torchvisions
    features = copy.deepcopy(part(network, "features")).eval()
    for module in features:
        if isinstance(module, nn.ReLU):
            module.inplace = False  # Captum's hooks don't bear it
    traces = record(network, images[:1])
    layers = convolution_layers(network)
    assert len(layers) == sum(isinstance(module, nn.Conv2d) for module in features) > 4
    for layer in layers:
        maps = feature_maps(traces, layer)
        k = int(maps[0].amax((1, 2)).argmax())
        value, place = maps[0, k].flatten().max(0)
        neuron = (k, int(place) // maps.shape[3], int(place) % maps.shape[3])
        captum = NeuronDeconvolution(features, features[int(layer.removeprefix("features.")) + 1])
        expected = (captum.attribute(images[:1], neuron) * value).detach()
        found = deconvolution(traces, layer, partial(strongest_activation, k=k))
        assert expected.abs().max() > 0
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_denet_is_that_of_the_same_layers_in_a_row(torchvisions: tuple[nn.Module, Tensor]) -> None:
    network, images = torchvisions
    classes = torch.tensor([3, 999])
    found = denet(record(network, images), classes)
    assert found.abs().amax((1, 2, 3)).min() > 0
    assert torch.equal(found, denet(record(in_a_row(network), images), classes))


class Learner(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = Stem()


def test_callbacks_look_at_it(tmp_path: Path) -> None:
    learner, images = Learner(), torch.randn(2, 3, 43, 43)
    pictures = torch.zeros(2, 3, 43, 43, dtype=torch.uint8)
    probes = Probes(["a.jpg", "b.jpg"], images, pictures, torch.tensor([0, 4]), list("abcde"), ["", ""])
    made = list(DeconvolutionPictures(tmp_path, probes).make_pictures(learner.network, 1))
    assert [picture.place for picture in made] == ["a/conv1", "b/conv1", "a/conv2", "b/conv2"]
    assert [picture.place for picture in DeNetPictures(tmp_path, probes).make_pictures(learner.network, 1)] == ["a", "b"]


def test_the_strongest_images_are_found_while_it_evaluates() -> None:
    network, images = Stem().eval(), torch.randn(6, 3, 43, 43)
    with TopActivationHooks(network, ["conv2"], keep=2) as hooks, torch.no_grad():
        hooks.set_batch_indices(torch.arange(6))
        network(images)
    found = hooks.metrics["conv2"].compute()
    maps = feature_maps(record(network, images), "conv2")
    values, order = maps.amax((2, 3)).sort(dim=0, descending=True, stable=True)
    torch.testing.assert_close(found["values"], values[:2].T)
    assert torch.equal(found["images"], order[:2].T)
    (picture,) = project_top_activations(network, "conv2", [0], found, lambda numbers: images[list(numbers)])
    assert picture.images == found["images"][0].tolist()


def test_a_layer_of_torchs_is_registered_in_five_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/own-networks.md."""
    monkeypatch.setitem(BACKWARD_RULES, nn.Fold, identity)  # and gone after the test
    del BACKWARD_RULES[nn.Fold]

    def unfold(trace: LayerTrace, value: Tensor) -> Tensor:
        assert isinstance(trace.layer, nn.Fold)
        return F.unfold(value, trace.layer.kernel_size)

    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(2), nn.Fold((6, 5), 2))
    images = torch.randn(2, 3, 5, 4, requires_grad=True)
    traces = record(network, images)
    value = torch.randn_like(traces[-1].output)
    with pytest.raises(UnknownLayerError, match=r"'2', a Fold. Add one: BACKWARD_RULES\[Fold\]"):
        backproject(traces, value)
    backward_rule(nn.Fold)(unfold)
    torch.testing.assert_close(backproject(traces, value), torch.autograd.grad(network(images), images, value)[0])
