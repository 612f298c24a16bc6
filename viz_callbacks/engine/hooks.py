"""Feature maps seen while a network runs by itself, such as in a Trainer's validation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from viz_callbacks.engine.feature_maps import activation_index, layer_index
from viz_callbacks.engine.forward import eval_copy, named_layers


class FeatureMapHooks(ABC):
    """Watches the maps of convolution layers: a context manager. There are hooks on the network inside ``with`` only.

    Works whether or not pools are computed before activations (``nn.ReLU`` and a max pool may change places), since it looks at
    what arrives at the activation and leaves it to ``watch`` to apply that.

    Args:
        network: as for ``record``.
        layers: names of convolution layers.

    Raises:
        ValueError: there is no such layer.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        self._hooked = [(layer, *_before_activation(network, layer)) for layer in layers]
        self._handles: list[RemovableHandle] = []

    @abstractmethod
    def watch(self, layer: str, maps: Tensor, activation: nn.Module) -> None:
        """Look at a layer's maps (N, K, h, w) of one batch; ``activation`` is still to be applied to them."""

    def __enter__(self) -> Self:
        self._handles = [
            module.register_forward_hook(self._hook(layer, activation)) for layer, module, activation in self._hooked
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        problem: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, layer: str, activation: nn.Module) -> Callable[[nn.Module, object, Tensor], None]:
        def look(module: nn.Module, arguments: object, output: Tensor) -> None:
            self.watch(layer, output, activation)

        return look


def _before_activation(network: nn.Module, layer: str) -> tuple[nn.Module, nn.Module]:
    """Return the module whose output arrives at a convolution layer's activation, and that activation or an nn.Identity."""
    named = list(named_layers(network))
    layers = [each for _, each in named]
    own = layer_index(named, layer)
    end = activation_index(layers, own)
    return (layers[end - 1], eval_copy(layers[end])) if end > own else (layers[own], nn.Identity())
