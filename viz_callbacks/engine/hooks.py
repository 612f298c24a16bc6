"""Feature maps seen while a network runs by itself, such as in a Trainer's validation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from viz_callbacks.engine.copies import eval_copy
from viz_callbacks.engine.graph import trace_network
from viz_callbacks.engine.needed_values import maps_layer

RISING = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Softplus, nn.ELU, nn.SELU)
"""Activations that never fall: the largest value comes from the largest. GELU, SiLU and the like have a dip."""


class FeatureMapHooks(ABC):
    """Watches the maps of convolution layers: a context manager. There are hooks on the network inside ``with`` only.

    Works whether or not pools are computed before activations (``nn.ReLU`` and a max pool may change places), since it looks at
    what arrives at the activation and leaves it to ``watch`` to apply that. Of a convolution that the network uses several
    times it watches the use that the layer's name means.

    Args:
        network: as for ``record``.
        layers: names of convolution layers.

    Raises:
        ValueError: there is no such layer.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        self._watched = [_watch(network, layer) for layer in layers]
        self._calls: dict[str, int] = {}  # of each layer's hooked module since the hooks are there
        self._handles: list[RemovableHandle] = []

    @abstractmethod
    def watch(self, layer: str, maps: Tensor, activation: nn.Module) -> None:
        """Look at a layer's maps (N, K, h, w) of one batch; ``activation``, which never falls, is still to be applied."""

    def __enter__(self) -> Self:
        self._calls = {}
        self._handles = [watched.module.register_forward_hook(self._hook(watched)) for watched in self._watched]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        problem: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, watched: "_Watched") -> Callable[[nn.Module, object, Tensor], None]:
        def look(module: nn.Module, arguments: object, output: Tensor) -> None:
            call = self._calls.get(watched.layer, 0)
            self._calls[watched.layer] = call + 1
            if call % watched.uses != watched.use:
                return
            if watched.rises:
                self.watch(watched.layer, output, watched.activation)
            else:
                self.watch(watched.layer, watched.activation(output), nn.Identity())

        return look


@dataclass(frozen=True)
class _Watched:
    """What is watched of a convolution layer.

    Attributes:
        layer: its name.
        module: that whose output arrives at the layer's activation.
        use: how many times the network has called it before, in a forward pass.
        uses: how many times it calls it in a forward pass.
        activation: what still becomes of that output.
        rises: whether that never falls.
    """

    layer: str
    module: nn.Module
    use: int
    uses: int
    activation: nn.Module
    rises: bool


def _watch(network: nn.Module, layer: str) -> _Watched:
    nodes = trace_network(network).nodes
    end = maps_layer(nodes, layer)
    by_name = {node.name: node for node in nodes}
    after = [by_name[end]]  # from the layer to its activation, last to first
    while after[-1].name != layer:
        after.append(by_name[after[-1].sources[0]])
    own = set(network.modules())
    hooked = next(node for node in after if node.layer in own and (node.name != end or end == layer))
    uses = [node.name for node in nodes if node.layer is hooked.layer]
    rest = [eval_copy(node.layer) for node in reversed(after[: after.index(hooked)])]
    rises = all(isinstance(each, RISING) or type(each) in (nn.Dropout, nn.Dropout2d, nn.Identity) for each in rest)
    return _Watched(layer, hooked.layer, uses.index(hooked.name), len(uses), nn.Sequential(*rest), rises)
