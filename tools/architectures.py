"""Which of torchvision's classification networks can be looked into, and how exactly: the table in docs/own-networks.md.

    python -m tools.architectures                    all of them, untrained; takes some minutes
    python -m tools.architectures resnet18 vgg11     these rows anew

Each is compared with autograd under other derivatives (``tools.rectified``): DeNet, and Deconvolution of its first, middle and
last convolution layer. Norms have drawn statistics and scales, so that what is compared isn't the same without them.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from tools.rectified import other_derivatives
from viz_callbacks.engine.feature_maps import convolution_layers, feature_maps
from viz_callbacks.engine.forward import RecordingError, record
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.tracing import UntraceableError
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet, one_hot

PAGE = Path(__file__).parents[1] / "docs" / "own-networks.md"
BEGIN, END = "<!-- made by python -m tools.architectures -->", "<!-- end of what it made -->"
COLUMNS = ("network", "million weights", "pixels", "layers", "DeNet", "as autograd", "what is refused")

SIZES = (64, 96, 224)  # pixels; the first that a network takes
EXACT = 1e-12  # relative to the largest value of a picture
CLASS = 7

QUICK_START = {"init_weights": False}  # drawing their weights as their papers did takes a minute
OPTIONS = {"googlenet": QUICK_START, "inception_v3": QUICK_START}


@dataclass(frozen=True)
class Row:
    """What is known of one network.

    Attributes:
        name: torchvision's.
        weights: how many, in millions.
        size: of the images, in pixels; 0 where none was needed.
        looked_at: how many convolution layers can be projected.
        layers: how many the network runs.
        denet: whether DeNet works.
        error: the largest difference from autograd, relative to the largest value; None where nothing was compared.
        reason: why not all of it works.
    """

    name: str
    weights: float
    size: int = 0
    looked_at: int = 0
    layers: int = 0
    denet: bool = False
    error: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        exact = "" if self.error is None else f"differs by {self.error:.0e}" if self.error > EXACT else f"to {EXACT:.0e}"
        layers, size = f"{self.looked_at} of {self.layers}", str(self.size or "")
        denet = "yes" if self.denet else "no"
        return f"| {self.name} | {self.weights:.1f} | {size} | {layers} | {denet} | {exact} | {self.reason} |"


def main(names: list[str]) -> None:
    """Examine these networks, or all, and write their rows into the page."""
    known = torchvision.models.list_models(torchvision.models)
    if unknown := set(names) - set(known):
        raise SystemExit(f"There is no {', '.join(sorted(unknown))} among torchvision's networks: {', '.join(known)}.")
    for name in names or known:
        row = str(examine(name))
        print(row, flush=True)
        write(documented() | {name: row})


def documented(begin: str = BEGIN, end: str = END) -> dict[str, str]:
    """Return the rows of a table of the page, by network."""
    table = PAGE.read_text().partition(begin)[2].partition(end)[0]
    return {line.split("|")[1].strip(): line for line in table.strip().splitlines()[2:]}


def write(rows: dict[str, str], begin: str = BEGIN, end: str = END) -> None:
    """Write these rows into a table of the page, in place of those that are there."""
    before, _, rest = PAGE.read_text().partition(begin)
    head = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"
    table = "\n".join([head, *(rows[name] for name in sorted(rows))])
    PAGE.write_text(f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}")


# --- One network --------------------------------------------------------------------------------------------------------------


def examine(name: str) -> Row:
    """Return what is known of one of torchvision's networks."""
    weights = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"] / 1e6
    if is_transformer(name):
        return Row(name, weights, layers=1, reason="a transformer: its one convolution cuts patches")
    torch.manual_seed(0)
    return examine_network(name, weights, torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {})))


def examine_network(name: str, weights: float, network: nn.Module) -> Row:
    """Return what is known of a network with so many million weights, which are drawn anew where they have one value."""
    network = drawn(network.double().eval())
    size = next(size for size in SIZES if takes(network, size))
    image = torch.randn(1, 3, size, size, dtype=torch.float64)
    layers = layers_run(network, image)
    try:
        traces = record(network, image)
    except (UntraceableError, RecordingError) as problem:
        return Row(name, weights, size, 0, len(layers), reason=in_a_cell(problem))
    pictures: dict[str, Tensor] = {}
    looked_at, reason = [layer for layer in layers if layer in convolution_layers(network)], ""
    try:
        pictures[""] = denet(traces, torch.tensor([CLASS]))  # goes through all layers, so that each has its way back
    except (TypeError, ValueError) as problem:
        obstacles = {layer: obstacle_below(traces, layer) for layer in looked_at}
        looked_at = [layer for layer in looked_at if not obstacles[layer]]
        reason = next(filter(None, obstacles.values()), in_a_cell(problem))  # the first, where there are several
    for layer in dict.fromkeys((*looked_at[:: max(1, len(looked_at) // 2)], *looked_at[-1:])):
        pictures[layer] = deconvolution(traces, layer)
    error = largest_error(network, image, traces, pictures) if pictures else None
    return Row(name, weights, size, len(looked_at), len(layers), "" in pictures, error, reason)


def is_transformer(name: str) -> bool:
    """Return whether a network has no convolution but that which cuts an image into patches."""
    try:
        with torch.device("meta"):  # nothing is computed
            network = torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {}))
    except NotImplementedError:  # RegNets compute their widths with tensors
        return False
    return sum(isinstance(module, nn.Conv2d) for module in network.modules()) < 2


def drawn(network: nn.Module) -> nn.Module:
    """Draw all parameters that start out with one value, such as norms' scales and shifts, and running statistics."""
    for parameter in network.parameters():
        if parameter.min() == parameter.max():
            nn.init.uniform_(parameter, 0.5, 1.5) if parameter.max() != 0 else nn.init.normal_(parameter, std=0.1)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return network


def takes(network: nn.Module, size: int) -> bool:
    """Return whether a network takes images of this size."""
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size, dtype=torch.float64))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def layers_run(network: nn.Module, image: Tensor) -> list[str]:
    """Return the names of the convolution layers that run when evaluating, first to last, without the engine's help."""
    run: list[str] = []
    convolutions = [(name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d)]
    handles = [
        each.register_forward_hook(lambda module, inputs, output, name=name: run.append(name)) for name, each in convolutions
    ]
    with torch.no_grad():
        network(image)
    for handle in handles:
        handle.remove()
    return run


def obstacle_below(traces: list[LayerTrace], layer: str) -> str:
    """Return why a layer can't be projected; '' where it can."""
    try:
        deconvolution(traces, layer)
    except (TypeError, ValueError) as problem:
        return in_a_cell(problem)
    return ""


def largest_error(network: nn.Module, image: Tensor, traces: list[LayerTrace], pictures: dict[str, Tensor]) -> float:
    """Return how far pictures, of layers by name and of DeNet as '', are from those of autograd, relative to their range."""
    maps = {layer: feature_maps(traces, layer) for layer in pictures if layer}
    seen: dict[str, Tensor] = {}

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        for layer, expected in maps.items():
            if isinstance(output, Tensor) and output.shape == expected.shape and torch.allclose(output, expected):
                seen[layer] = output.clone()  # the network may overwrite its own

    handles = [module.register_forward_hook(keep) for module in network.modules()]
    handles += [
        module.register_forward_hook(lambda module, inputs, output: output.detach())
        for name, module in network.named_modules()
        if name.endswith((".gate", ".gate_fn", ".rsoftmax"))  # as timm calls what a value is multiplied by: it is held
    ]
    pixels = image.clone().requires_grad_()
    with other_derivatives():
        seen[""] = network(pixels)
    for handle in handles:
        handle.remove()
    worst = 0.0
    for layer, picture in pictures.items():
        output = seen[layer]  # a KeyError: no module has given these maps
        start = output.detach() if layer else one_hot(output, torch.tensor([CLASS]))
        (expected,) = torch.autograd.grad(output, pixels, start, retain_graph=True)
        if not expected.any():
            raise ValueError(f"The picture of {layer or 'DeNet'} is empty, so that nothing is compared.")
        worst = max(worst, float((picture - expected).abs().max() / expected.abs().max()))
    return worst


def in_a_cell(problem: Exception) -> str:
    """Return what an exception says as one cell of a table."""
    return str(problem).replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main(sys.argv[1:])
