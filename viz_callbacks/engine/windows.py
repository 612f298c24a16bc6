"""How layers' windows lie on their input: what receptive fields are computed from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import nn

from viz_callbacks.engine.convolution import padding_of

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """How a layer's windows lie on its input, in rows and columns.

    Attributes:
        kernel: the size, dilated.
        stride: from window to window.
        padding: before the first row and column.
    """

    kernel: Pair
    stride: Pair
    padding: Pair


WindowOf = Callable[[nn.Module], Window]


def one_place(layer: nn.Module) -> Window:
    """Return the window of a layer that looks at each place by itself."""
    return Window((1, 1), (1, 1), (0, 0))


def conv_window(layer: nn.Module) -> Window:
    """Return the windows of a convolution.

    >>> conv_window(nn.Conv2d(3, 8, 5, stride=2, padding=1))
    Window(kernel=(5, 5), stride=(2, 2), padding=(1, 1))

    Raises:
        ValueError: it pads with something other than zeros, so that units at the border see what lies elsewhere.
    """
    conv = cast(nn.Conv2d, layer)
    if conv.padding_mode != "zeros":
        raise ValueError(f"A convolution with padding_mode {conv.padding_mode!r} has no windows of one size; only 'zeros' has.")
    (top, _), (left, _) = padding_of(conv)
    return Window(_dilated(_pair(conv.kernel_size), _pair(conv.dilation)), _pair(conv.stride), (top, left))


def pool_window(layer: nn.Module) -> Window:
    """Return the windows of a pool whose windows are all of one size.

    >>> pool_window(nn.MaxPool2d(3))
    Window(kernel=(3, 3), stride=(3, 3), padding=(0, 0))
    """
    pool = cast(nn.MaxPool2d, layer)
    size, stride = _pair(pool.kernel_size), _pair(pool.stride or pool.kernel_size)
    padding, dilation = _pair(getattr(layer, "padding", 0)), _pair(getattr(layer, "dilation", 1))
    return Window(_dilated(size, dilation), stride, padding)


def pad_window(layer: nn.Module) -> Window:
    """Return the window of a layer that pads rows and columns: one place, which lies further up and left."""
    left, _, top, _ = cast(nn.ZeroPad2d, layer).padding
    return Window((1, 1), (1, 1), (top, left))


def _dilated(size: Pair, dilation: Pair) -> Pair:
    return dilation[0] * (size[0] - 1) + 1, dilation[1] * (size[1] - 1) + 1


def _pair(size: int | tuple[int, ...] | None) -> Pair:
    if isinstance(size, int):
        return size, size
    rows, columns = cast(Pair, size)
    return rows, columns
