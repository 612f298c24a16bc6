"""One callback for any LightningModule: it finds the network, the layers and images to look at by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from viz_callbacks.callbacks.base import PictureCallback
from viz_callbacks.callbacks.deconvolution import DeconvolutionPictures
from viz_callbacks.callbacks.denet import DeNetPictures
from viz_callbacks.callbacks.overview import OverviewPictures
from viz_callbacks.callbacks.probes import Probes
from viz_callbacks.engine.feature_maps import convolution_layers, open_layers
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.graph import trace_network
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.tracing import UntraceableError
from viz_callbacks.lens.photographs import InputFormat, Photograph, name_of
from viz_callbacks.lens.seen import AT_MOST, evenly_chosen

COUNT = 8  # images at most


class LookInside(Callback):
    """Makes pictures of what a network sees while it trains: all layers at one glance, each layer's maps, and DeNet.

    They go below ``folder`` and to W&B and TensorBoard, if these are the Trainer's loggers. Training doesn't notice.

    Args:
        probes: the images to look at: files, Pillow images, arrays or tensors (``lens.photographs.Photograph``) [default: the
            first ones, eight at most, of the validation's first batch, or else the training's].
        layers: names of convolution layers, or one name; or all that have a way back.
        every_n_epochs: how often; the last epoch is always looked at.
        folder: of the pictures: ``overview/``, ``deconvolution/`` and ``denet/``.
        network: the name of the LightningModule's attribute that is the network, ``""`` for itself [default: found].
        class_names: of the outputs [default: the data set's ``classes``, or else numbers].
        mean: of each channel, for values from 0 to 1 [default: that of a Normalize among the data set's transforms].
        std: of each channel, likewise.

    Raises:
        ValueError: only one of mean and std is given, or no layer. When the training starts: the network isn't found; there is
            no such layer, or no way back from it; or probes need mean and std, and these aren't found.
        OSError: when the training starts: a probe can't be read.
        UntraceableError: when the training starts: the network can't be followed.
    """

    def __init__(
        self,
        probes: Sequence[Photograph] | None = None,
        layers: str | Sequence[str] = "all",
        *,
        every_n_epochs: int = 1,
        folder: str | Path = "pictures",
        network: str | None = None,
        class_names: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if (mean is None) != (std is None):
            raise ValueError("Give both mean and std, or neither.")
        if probes is not None and (isinstance(probes, str | Path) or len(probes) == 0):
            raise ValueError("probes must be a list of at least one photograph, or None for images of the validation.")
        if not layers:
            raise ValueError("layers must name at least one convolution layer, or be 'all'.")
        self.probes = probes
        self.layers = None if layers == "all" else [layers] if isinstance(layers, str) else list(layers)
        self.every_n_epochs = every_n_epochs
        self.folder = Path(folder)
        self.network = network
        self.class_names = class_names
        self.normalisation = (tuple(mean), tuple(std)) if mean is not None and std is not None else None
        self._callbacks: list[PictureCallback] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the network, its layers and the images, so that a mistake is told before it costs an epoch."""
        self._callbacks = []
        if self.network is None:
            self.network = find_network(pl_module)
        known = convolution_layers(_part(pl_module, self.network))
        unknown = [layer for layer in self.layers or () if layer not in known]
        if unknown or not known:
            raise ValueError(
                f"There is no convolution layer {', '.join(unknown)}; the network has {', '.join(known) or 'none'}."
            )
        if self.every_n_epochs > 0 and trainer.is_global_zero:
            self._callbacks = self._build(trainer, _part(pl_module, self.network))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the pictures where they are due, on rank zero."""
        if not self._callbacks:
            return
        for callback in self._callbacks:
            callback.on_train_epoch_end(trainer, pl_module)
        self._callbacks[0].on_train_epoch_start(trainer, pl_module)  # lets go of what they shared

    def _build(self, trainer: Trainer, network: nn.Module) -> list[PictureCallback]:
        """Return the callbacks that make the pictures, and say what there won't be pictures of."""
        probes, traces = self._find_probes(trainer, network)
        with_way_back, left_out = open_layers(traces)
        if blocked := [layer for layer in self.layers or () if layer not in with_way_back]:
            raise ValueError(f"There is no way back from {', '.join(blocked)}. {left_out}")
        if left_out:
            print(f"LookInside: {left_out}", flush=True)
        layers = self.layers or with_way_back
        options: dict[str, Any] = {"every_n_epochs": self.every_n_epochs, "network": self.network}
        return [
            OverviewPictures(self.folder / "overview", probes, layers=evenly_chosen(layers, AT_MOST), **options),
            DeconvolutionPictures(self.folder / "deconvolution", probes, layers=layers, **options),
            DeNetPictures(self.folder / "denet", probes, **options),
        ]

    def _find_probes(self, trainer: Trainer, network: nn.Module) -> tuple[Probes, list[LayerTrace]]:
        """Return the images to look at, and what the network makes of the first one."""
        dataset, images, targets = first_images(trainer)
        normalisation = self.normalisation or find_normalisation(dataset)
        mean, std = normalisation or ((0.0,), (1.0,))
        format_ = InputFormat(images.shape[1], images.shape[-1], mean, std, stretch=True)
        if self.probes is None:
            names = [name_of(each, number) for number, each in enumerate(images)]
            pictures = format_.denormalise(images) if normalisation else on_own_range(images)
        else:
            ready = all(isinstance(each, Tensor) and each.is_floating_point() for each in self.probes)
            if normalisation is None and not ready:
                raise ValueError("Photographs need the mean and std that the network was trained with: give mean= and std=.")
            names = [name_of(each, number) for number, each in enumerate(self.probes)]
            pictures, images = format_.prepare(self.probes)
            pictures = pictures if normalisation else on_own_range(images)
            targets = torch.full((len(images),), -1)
        traces = record(network, images[:1].to(next(network.parameters())))
        output = traces[-1].output
        classes = output.shape[1] if output.ndim == 2 else 0
        class_names = list(self.class_names or getattr(dataset, "classes", None) or map(str, range(classes)))
        if len(class_names) != classes and classes:
            raise ValueError(f"class_names holds {len(class_names)} names; the network has {classes} classes.")
        return Probes(names, images, pictures, targets, class_names, notes=[""] * len(names)), traces


def _part(module: LightningModule, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as problem:
        parts = ", ".join(repr(part) for part, _ in module.named_children()) or "none"
        raise ValueError(f"{type(module).__name__} has no part network={name!r}; it has {parts}.") from problem


def find_network(module: LightningModule) -> str:
    """Return the name of the attribute of a module that is its network, ``""`` where the module is that itself.

    It is the only part with weights, else the module if its forward can be followed, else the only part with convolutions.

    Raises:
        ValueError: there are several; the message names them.
    """
    parts = {name: child for name, child in module.named_children() if any(True for _ in child.parameters())}
    with_convolutions = [
        name
        for name, child in parts.items()
        if not isinstance(child, nn.Conv2d) and any(isinstance(each, nn.Conv2d) for each in child.modules())
    ]
    if len(parts) == 1 and with_convolutions:
        return with_convolutions[0]
    try:
        trace_network(module)
    except UntraceableError as problem:
        if len(with_convolutions) == 1:
            return with_convolutions[0]
        raise ValueError(
            f"Which part of {type(module).__name__} is the network? Say so with network=: "
            f"{' or '.join(map(repr, with_convolutions)) or 'no part of it has convolutions'}."
        ) from problem
    return ""


def first_images(trainer: Trainer) -> tuple[object, Tensor, Tensor]:
    """Return a data set, its first images (N, C, H, W) and their classes (N,), -1 where these are not known.

    They are those of the first validation loader, or else of the training. Random numbers stay as they were.

    Raises:
        ValueError: a batch holds no images.
    """
    loaders = trainer.val_dataloaders or trainer.train_dataloader
    while isinstance(loaders, dict | list | tuple):
        loaders = next(iter(loaders.values() if isinstance(loaders, dict) else loaders))
    with isolate_rng():
        batch = next(iter(loaders))  # type: ignore[arg-type]  # whatever people give to a Trainer
    parts = list(batch.values()) if isinstance(batch, dict) else [batch] if isinstance(batch, Tensor) else list(batch)
    images = next((each for each in parts if isinstance(each, Tensor) and each.ndim == 4), None)
    if images is None:
        raise ValueError("The loader's batches hold no images (N, C, H, W): give probes=.")
    whole = (torch.int64, torch.int32)
    targets = next((each for each in parts if isinstance(each, Tensor) and each.ndim == 1 and each.dtype in whole), None)
    unknown = torch.full((len(images),), -1)
    return getattr(loaders, "dataset", None), images[:COUNT], (unknown if targets is None else targets.long())[:COUNT]


def find_normalisation(dataset: object) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and std of a Normalize among a data set's transforms, as torchvision's are called; None without one."""
    waiting, seen = [dataset], set[int]()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen or len(seen) > 100:
            continue
        seen.add(id(each))
        if type(each).__name__ == "Normalize":
            return tuple(map(float, each.mean)), tuple(map(float, each.std))  # type: ignore[attr-defined]  # as it is torchvision's
        for name in ("transform", "transforms", "dataset", "datasets"):
            inner = getattr(each, name, None)
            waiting += list(inner) if isinstance(inner, list | tuple) else [inner]
    return None


def on_own_range(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) as uint8, each from its least value as black to its greatest as white."""
    flat = images.detach().float().flatten(1)
    low, high = flat.amin(1).view(-1, 1, 1, 1), flat.amax(1).view(-1, 1, 1, 1)
    return ((images - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8).cpu()
