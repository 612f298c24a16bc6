"""Single activations projected to the pixels: against Captum's loop, and those of all maps over a whole data set."""

import json
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torchvision
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from benchmarks.steps import CLASSES, batch
from benchmarks.timing import Row, in_turns, rates
from configs import DataSettings, ModelSettings, OptimSettings, SettingsError
from datamodules.caltech101.datamodule import Caltech101
from experiment.hardware import configure_malloc
from experiment.loggers import quiet_lightning
from experiment.visualization import reference_images
from lightning_modules.classifier import Classifier
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from viz_callbacks.callbacks import TopActivationPictures
from viz_callbacks.engine.feature_maps import trace_up_to
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.receptive_field import ReceptiveField, receptive_field
from viz_callbacks.methods.unit_projection import project_units, strongest_units

if TYPE_CHECKING:
    from captum.attr import NeuronDeconvolution

SIZE = IMAGE_SIZES["alexnet"]
CAPTUM_MAPS = {"conv1": 96, "conv3": 32, "conv5": 32}  # of 96, 384 and 256; Captum takes about as long for each
ALL_MAPS = 10_000  # more than any layer has

GRAPHS = {
    "resnet18": ["layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"],
    "squeezenet1_1": ["features.6.expand3x3"],
    "vgg11_bn": ["features.11"],
}
"""Layers of torchvision's networks, each followed by an ``nn.ReLU``."""
GRAPH_SIZE = 224
GRAPH_MAPS = 16  # that Captum is given


def projections(repeats: int) -> list[Row]:
    """Project the strongest activation in an image of each map of three layers.

    Raises:
        AssertionError: a picture differs from Captum's.
        SettingsError: Captum isn't installed.
    """
    torch.manual_seed(0)
    configure_malloc()
    network = build_network(ModelSettings(norm="none"), CLASSES).eval()
    image = batch(SIZE)[0][:1]
    rows = []
    for layer, count in CAPTUM_MAPS.items():
        below = nn.Sequential(*(network.get_submodule(trace.name) for trace in trace_up_to(record(network, image), layer)))
        rows.append(against_captum(below, layer, image, count, repeats))
    return rows


def against_captum(network: nn.Sequential, layer: str, image: Tensor, count: int, repeats: int) -> Row:
    """Project all maps of a layer together, the forward pass included, and ``count`` of them one by one by Captum.

    Args:
        network: ends at the layer's activation, so that neither side computes what lies above. It has no norms: Captum goes
            back through a norm by its derivative, ours leaves it out.
        layer: its name.
        image: (1, 3, H, W).
        count: maps that Captum is given, evenly spaced over all.
        repeats: turns of the comparison.

    Raises:
        AssertionError: a picture differs.
        SettingsError: Captum isn't installed.
    """
    traces = record(network, image)
    maps, field = traces[-1].output[0], receptive_field(traces)
    units = strongest_units(maps[None])
    places = list(zip(units.maps.tolist(), units.rows.tolist(), units.columns.tolist(), strict=True))
    chosen = range(0, len(places), len(places) // count)[:count]
    captum = captums_deconvolution()(network, network[-1])

    def ours() -> Tensor:
        traces = record(network, image)
        return project_units(traces, strongest_units(traces[-1].output))

    def theirs() -> list[Tensor]:
        return [captum.attribute(image, places[k])[0].detach() * maps[places[k]] for k in chosen]  # Captum starts from 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # at each call: of hooks set on the rectifiers, of the image's gradient
        compare(layer, ours(), places, dict(zip(chosen, theirs(), strict=True)), field)
        our, their = in_turns([ours, theirs], repeats)
    name = f"strongest activation of each of {layer}'s {len(maps)} maps projected, AlexNet without norms, {SIZE} px"
    meaning = "times as fast as Captum's NeuronDeconvolution in a loop, both given only the layers up to there"
    if count < len(maps):
        meaning += f"; its loop over {count} evenly spaced maps"
    return rates(name, [each / len(maps) for each in our], [each / count for each in their], 1, "maps/s", meaning)


def graphs(repeats: int) -> list[Row]:
    """Project the strongest activation of each map of layers of torchvision's networks with branches, against Captum.

    Only networks whose rectifiers are ``nn.ReLU`` can be compared: Captum leaves all others, and functions, as they are.

    Raises:
        AssertionError: a picture differs from Captum's.
        SettingsError: Captum isn't installed.
    """
    torch.manual_seed(0)
    configure_malloc()
    image = torch.randn(1, 3, GRAPH_SIZE, GRAPH_SIZE)
    rows = []
    for name, layers in GRAPHS.items():
        network = torchvision.models.get_model(name, weights=None).eval()
        for module in network.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # Captum's hooks don't allow it
        rows += [graph_against_captum(name, network, layer, image, repeats) for layer in layers]
    return rows


def graph_against_captum(name: str, network: nn.Module, layer: str, image: Tensor, repeats: int) -> Row:
    """Project all maps of a layer together, and ``GRAPH_MAPS`` of them one by one by Captum; both run the whole network.

    Args:
        name: of the network.
        network: its rectifiers are ``nn.ReLU``, none of them in place.
        layer: a convolution that a norm may follow, and then a rectifier.
        image: (1, 3, H, W).
        repeats: turns of the comparison.

    Raises:
        AssertionError: a picture differs.
        SettingsError: Captum isn't installed.
    """
    traces = trace_up_to(record(network, image), layer)
    before = network.get_submodule(traces[-1].sources[0])  # a rectifier may be used twice; what comes before it is not
    units = strongest_units(traces[-1].output)
    places = list(zip(units.maps.tolist(), units.rows.tolist(), units.columns.tolist(), strict=True))
    chosen = range(0, len(places), max(1, len(places) // GRAPH_MAPS))[:GRAPH_MAPS]
    captum = captums_deconvolution()(network, before)

    def ours() -> Tensor:
        traces = trace_up_to(record(network, image), layer)
        return project_units(traces, strongest_units(traces[-1].output))

    def theirs() -> list[Tensor]:
        maps = traces[-1].output[0]
        return [captum.attribute(image, places[k])[0].detach() * maps[places[k]] for k in chosen]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        compare(layer, ours(), places, dict(zip(chosen, theirs(), strict=True)), receptive_field(traces))
        our, their = in_turns([ours, theirs], repeats)
    title = f"strongest activation of each of {layer}'s {len(places)} maps projected, {name}, {image.shape[-1]} px"
    meaning = "times as fast as Captum's NeuronDeconvolution in a loop, both given the whole network"
    if len(chosen) < len(places):
        meaning += f"; its loop over {len(chosen)} evenly spaced maps"
    return rates(title, [each / len(places) for each in our], [each / len(chosen) for each in their], 1, "maps/s", meaning)


def compare(
    layer: str, pictures: Tensor, places: list[tuple[int, int, int]], wholes: Mapping[int, Tensor], field: ReceptiveField
) -> None:
    """Compare pictures (K, 3, h, w) of units inside their receptive fields with whole ones (3, H, W) of some, by number.

    Raises:
        AssertionError: one differs.
    """
    for k, whole in wholes.items():
        pasted = torch.zeros_like(whole)
        number, row, column = places[k]
        of_image, of_box = field.inside(row, column, *whole.shape[1:])
        pasted[:, *of_image] = pictures[k][:, *of_box]
        near = 1e-5 * float(whole.abs().max())
        torch.testing.assert_close(pasted, whole, rtol=1e-4, atol=near, msg=f"{layer}: the pictures of map {number + 1} differ")


def captums_deconvolution() -> "type[NeuronDeconvolution]":
    """Return Captum's class. Raises SettingsError where Captum isn't installed."""
    try:
        from captum.attr import NeuronDeconvolution
    except ImportError as missing:
        raise SettingsError("this comparison needs Captum: pip install -e '.[test]'") from missing
    found: type[NeuronDeconvolution] = NeuronDeconvolution
    return found


def strongest_of_all_maps(repeats: int) -> list[Row]:
    """Find, project, compose and write the nine strongest activations of each map over the test images, once.

    The time runs from the start of the evaluation in which they are found to the last file. Beside it: that evaluation alone.
    """
    quiet_lightning()
    configure_malloc()
    data = Caltech101(DataSettings(val_fraction=0.0), SIZE, seed=1)
    data.prepare_data()
    data.setup("fit")
    network = build_network(ModelSettings(), len(data.class_names)).to(memory_format=torch.channels_last)
    images = reference_images(data)
    alone = _seconds(network, data, [])
    with tempfile.TemporaryDirectory() as folder:
        ours = _seconds(network, data, [TopActivationPictures(Path(folder), images, maps=ALL_MAPS)])
        (made,) = json.loads((Path(folder) / "index.json").read_text()).values()
    maps = sum(len(layer["maps"]) for layer in made)
    name = f"top-9 pictures of all {maps:,} maps of AlexNet, {len(images.names):,} images, {SIZE} px"
    return [Row(name, ours, alone, "s", ours / alone, None, "times as long as only evaluating these images; once")]


class ValidationClock(Callback):
    """Notes when the validation starts."""

    started = 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        self.started = time.perf_counter()


def _seconds(network: nn.Sequential, data: Caltech101, callbacks: list[Callback]) -> float:
    """Return the seconds from the start of the validation to the end of an epoch of one training step."""
    model = Classifier(network, len(data.class_names), OptimSettings(), 1)
    clock = ValidationClock()
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", precision="32-true", logger=False, limit_train_batches=1, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[clock, *callbacks],
    )  # fmt: skip
    trainer.fit(model, data)
    return time.perf_counter() - clock.started
