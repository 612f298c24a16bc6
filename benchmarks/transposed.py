"""The two exact forms of a transposed convolution, layer by layer: what ``engine.convolution.is_subpixel_faster`` rests on.

``python -m benchmarks transposed``: each row compares the sub-pixel form with torch's own, and says which of them the rule
takes. Where the ratio is above 1 in all turns and the rule takes torch's, or the other way round, the rule is to be changed.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from benchmarks.steps import CLASSES
from benchmarks.timing import Row, in_turns, rates
from configs import ModelSettings
from lightning_modules.networks.registry import IMAGE_SIZES, build_network
from viz_callbacks.engine.convolution import (
    is_subpixel_faster,
    padding_of,
    subpixel_transposed_convolution,
    torch_transposed_convolution,
)
from viz_callbacks.engine.forward import record

PROBES = 8
UNITS = 32  # single activations, whose boxes are a few places large
SMALL = 5  # places along a side of such a box


def transposed_convolutions(repeats: int) -> list[Row]:
    """Time both forms for the layers of three networks, on the probes' whole maps and on the boxes of single activations."""
    torch.manual_seed(0)
    rows = []
    for name, network, size in networks():
        traces = record(network, torch.randn(1, 3, size, size))
        seen = set[tuple[object, ...]]()
        for trace in traces:
            conv = trace.layer
            if not isinstance(conv, nn.Conv2d) or conv.groups > 1 or conv.stride[0] != conv.stride[1]:
                continue
            shape = (conv.weight.shape, conv.stride, trace.output.shape)
            if shape not in seen:  # a layer of another that is like it takes as long
                seen.add(shape)
                title = f"{name}'s {trace.name}: {conv.in_channels} to {conv.out_channels} maps, {conv.kernel_size[0]} px, "
                title += f"stride {conv.stride[0]}"
                rows.append(both_forms(f"{title}, whole maps", conv, PROBES, trace.output.shape[2:], repeats))
                rows.append(both_forms(f"{title}, boxes", conv, UNITS, (SMALL, SMALL), repeats))
    return rows


def both_forms(name: str, conv: nn.Conv2d, count: int, places: tuple[int, ...], repeats: int) -> Row:
    """Time the sub-pixel form against torch's, for ``count`` values of so many rows and columns.

    Raises:
        AssertionError: they differ.
    """
    value = torch.randn(count, conv.out_channels, *places)
    (top, bottom), (left, right) = padding_of(conv)
    whole = [(side - 1) * step + size for side, step, size in zip(places, conv.stride, conv.kernel_size, strict=True)]
    size = (whole[0] - top - bottom, whole[1] - left - right)

    @torch.no_grad()
    def subpixel() -> Tensor:
        return F.pad(subpixel_transposed_convolution(conv, value), (-left, -right, -top, -bottom))

    @torch.no_grad()
    def torchs() -> Tensor:
        return torch_transposed_convolution(conv, value, size)

    torch.testing.assert_close(subpixel(), torchs(), rtol=1e-3, atol=1e-3)
    ours, theirs = in_turns([subpixel, torchs], repeats)
    taken = "sub-pixel" if is_subpixel_faster(conv) else "torch's"
    return rates(name, ours, theirs, count, "values/s", f"times as fast as torch's form; the rule takes the {taken} one")


def networks() -> list[tuple[str, nn.Module, int]]:
    """Return untrained networks, evaluating, each with its name and the side of its images."""
    alexnet, zfnet = (build_network(ModelSettings(name=name), CLASSES).eval() for name in ("alexnet", "zfnet"))
    resnet = torchvision.models.resnet18(weights=None).eval()
    return [("AlexNet", alexnet, IMAGE_SIZES["alexnet"]), ("ZFNet", zfnet, IMAGE_SIZES["zfnet"]), ("ResNet-18", resnet, 224)]
