"""What a network makes of a few images at one moment, computed once however many callbacks look at it.

Deconvolution's pictures, DeNet's, the first filters and the metrics all need the forward pass of the same probes and partly
the same projections. A ``ProbeSnapshot`` computes each when it is first asked for. The callbacks of a training share one in a
``SharedSnapshot`` from the end of an epoch to the beginning of the next, so that it takes no memory while the network learns.
"""

from collections.abc import Callable, Hashable
from functools import cached_property

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from viz_callbacks.engine.backward import blocked_layers
from viz_callbacks.engine.feature_maps import feature_maps, open_layers
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.probabilities import class_probabilities
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet
from viz_callbacks.methods.gradient import gradient


class ProbeSnapshot:
    """A forward pass of some images through a network, and projections of it; valid until the network's weights change.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 10))
    >>> snapshot = ProbeSnapshot(network, torch.randn(2, 3, 20, 20), targets=torch.tensor([7, 1]))
    >>> {name: tuple(projection.shape) for name, projection in snapshot.projections().items()}
    {'0': (2, 3, 20, 20), 'denet': (2, 3, 20, 20), 'gradient': (2, 3, 20, 20)}
    >>> snapshot.deconvolution("0") is snapshot.projections()["0"]
    True

    Args:
        network: as for ``record``.
        images: (P, C, H, W) as the network takes them, on any device.
        targets: their true classes, (P,) of int64, and -1 where that is not known.
    """

    def __init__(self, network: nn.Module, images: Tensor, targets: Tensor) -> None:
        weights = next(network.parameters())
        self.network = network
        self.images = images.to(weights)  # its device and dtype
        self._targets = targets.to(weights.device)
        self._projections: dict[Hashable, Tensor] = {}

    @cached_property
    def traces(self) -> list[LayerTrace]:
        """The recorded forward pass of all images."""
        return record(self.network, self.images)

    @cached_property
    def layers(self) -> list[str]:
        """The names of the convolution layers that can be projected to the pixels, first to last."""
        return open_layers(self.traces)[0]

    @property
    def logits(self) -> Tensor:
        """The network's output, (P, number of classes)."""
        return self.traces[-1].output

    @property
    def has_classes(self) -> bool:
        """Whether the output is one value for each class."""
        return self.logits.ndim == 2

    @cached_property
    def has_denet(self) -> bool:
        """Whether classes can be projected to the pixels: they are there, and each layer has a way back."""
        return self.has_classes and self.traces[-1].name not in blocked_layers(self.traces)

    @cached_property
    def predicted(self) -> Tensor:
        """The most probable class of each image, (P,) of int64."""
        return self.logits.argmax(1)

    @cached_property
    def targets(self) -> Tensor:
        """The true class of each image, (P,) of int64; where it is not known, the predicted one takes its place."""
        return torch.where(self._targets < 0, self.predicted, self._targets)

    @cached_property
    def confidence(self) -> Tensor:
        """The probability of the predicted class, (P,), 0 to 1."""
        return class_probabilities(self.traces[-1].layer, self.logits).amax(1)

    def feature_maps(self, layer: str) -> Tensor:
        """Return the feature maps (P, K, h, w) of a convolution layer, after its activation."""
        return feature_maps(self.traces, layer)

    def deconvolution(self, layer: str) -> Tensor:
        """Return Deconvolution of all maps of a convolution layer, (P, C, H, W)."""
        return self._once(("deconvolution", layer), lambda: deconvolution(self.traces, layer))

    def denet(self, classes: Tensor, *, subtract_bias: bool = True) -> Tensor:
        """Return DeNet of a class for each image, (P, C, H, W).

        Args:
            classes: (P,) of int64.
            subtract_bias: as for ``denet``.
        """
        key = ("denet", subtract_bias, *classes.tolist())
        return self._once(key, lambda: denet(self.traces, classes, subtract_bias=subtract_bias))

    def projections(self) -> dict[str, Tensor]:
        """Return the projections (P, C, H, W) that ``ProjectionMetrics`` measures, by name.

        They are Deconvolution of each convolution layer, ``denet`` and ``gradient`` of the true classes. The gradient needs a
        forward pass of its own, which autograd follows.
        """
        return {
            **{layer: self.deconvolution(layer) for layer in self.layers},
            "denet": self.denet(self.targets),
            "gradient": self._once("gradient", lambda: gradient(self.network, self.images, self.targets)),
        }

    def _once(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self._projections:
            self._projections[key] = compute()
        return self._projections[key]


class SharedSnapshot:
    """The snapshot that the callbacks of a Trainer share at one step of a training; empty when nobody has asked for one."""

    def __init__(self) -> None:
        self._taken_at: tuple[Trainer, nn.Module, int] | None = None
        self._snapshot: ProbeSnapshot | None = None

    def get(self, trainer: Trainer, network: nn.Module, take: Callable[[], ProbeSnapshot]) -> ProbeSnapshot:
        """Return the snapshot of this network at the Trainer's step; taken anew where the one that is here is another's."""
        now = (trainer, network, trainer.global_step)
        if self._snapshot is None or self._taken_at != now:
            self._taken_at, self._snapshot = now, take()
        return self._snapshot

    def release(self) -> None:
        """Let go of the snapshot, and so of its memory."""
        self._taken_at = self._snapshot = None

    def __bool__(self) -> bool:
        return self._snapshot is not None


class SharesSnapshot(Callback):
    """Lets go of the shared snapshot before the network learns on, and when the training ends, however it ends."""

    shared_snapshot: SharedSnapshot

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Release the snapshot of the epoch before."""
        self.shared_snapshot.release()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Release the snapshot of the last epoch."""
        self.shared_snapshot.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Release the snapshot when the training is interrupted."""
        self.shared_snapshot.release()
