"""The transposed convolution, the adjoint of a convolution without its bias: plain, and faster for few channels.

With filters w, places p in the output and q in the input, places u within a filter, output channels k and input channels c,

    v'[c, q] = sum over k, p and u with q = stride p + dilation u - padding of w[k, c, u] v[k, p].
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

FEW_CHANNELS = 16  # as many float32 as a vector register holds; libraries waste the rest on fewer


def transposed_convolution(conv: nn.Conv2d, value: Tensor, size: Sequence[int]) -> Tensor:
    """Return v' (N, C, *size) for v (N, K, H, W) at the output of a convolution whose padding is with zeros.

    Args:
        conv: the convolution; its bias takes no part.
        value: v.
        size: rows and columns of the convolution's input.
    """
    (top, _), (left, _) = padding_of(conv)
    height, width = size
    if is_subpixel_faster(conv):
        whole = subpixel_transposed_convolution(conv, value)
        return F.pad(whole, (-left, left + width - whole.shape[3], -top, top + height - whole.shape[2]))
    return torch_transposed_convolution(conv, value, size)


def torch_transposed_convolution(conv: nn.Conv2d, value: Tensor, size: Sequence[int]) -> Tensor:
    """Return v' by torch's own gradient of a convolution, which takes every layer."""
    (top, bottom), (left, right) = padding_of(conv)
    height, width = size
    symmetric = (len(value), conv.in_channels, height + bottom - top, width + right - left)
    back: Tensor = conv2d_input(  # type: ignore[no-untyped-call]  # torch.nn.grad has no types
        symmetric, conv.weight, value, conv.stride, (top, left), conv.dilation, conv.groups
    )
    return back[..., :height, :width]


def is_subpixel_faster(conv: nn.Conv2d) -> bool:
    """Return whether ``subpixel_transposed_convolution`` takes this layer, and is the faster way."""
    return (
        conv.in_channels < FEW_CHANNELS
        and conv.groups == 1
        and tuple(conv.dilation) == (1, 1)
        and conv.stride[0] == conv.stride[1]
    )


def subpixel_transposed_convolution(conv: nn.Conv2d, value: Tensor) -> Tensor:
    """Return v' as a convolution with stride 1 and a pixel shuffle: four times as fast as the plain way for AlexNet's conv1.

    Of the pixels of v', those whose rows and columns leave the same remainders when divided by the stride are a convolution of
    v with every stride-th weight. Each of these grids is a channel here; the pixel shuffle puts them together. Padding is left
    on. Shi et al., Real-Time Single Image and Video Super-Resolution Using ... Sub-Pixel Convolution (CVPR 2016), section 3.
    """
    stride, (maps, channels, height, width) = conv.stride[0], conv.weight.shape
    rows, columns = -(-height // stride), -(-width // stride)
    filters = F.pad(conv.weight, (0, columns * stride - width, 0, rows * stride - height))
    filters = filters.view(maps, channels, rows, stride, columns, stride).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    grids = F.conv2d(value, filters.reshape(-1, maps, rows, columns), padding=(rows - 1, columns - 1))
    pixels = F.pixel_shuffle(grids, stride)
    return pixels[:, :, : (value.shape[2] - 1) * stride + height, : (value.shape[3] - 1) * stride + width]


def padding_of(conv: nn.Conv2d) -> list[tuple[int, int]]:
    """Return the padding before and after the rows, and before and after the columns, in pixels.

    >>> padding_of(nn.Conv2d(3, 8, (4, 3), padding="same"))
    [(1, 2), (1, 1)]
    """
    if conv.padding == "same":  # where it is odd, the extra row or column comes last
        total = [dilation * (size - 1) for dilation, size in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    return [(0, 0), (0, 0)] if isinstance(conv.padding, str) else [(p, p) for p in conv.padding]
