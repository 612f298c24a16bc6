"""The engine: a network is a list of named layers; record it on the way down, then walk the same list back.

Going down, layer i turns x[i-1] into x[i] = f_i(x[i-1]), from the images x[0]. Going back, its reverse turns a value v[i]
at the layer's output into a value v[i-1] at its input, down to the pixels v[0]. Write w for filters, W and b for the weights
and biases of a dense layer, p and q for places in the output and in the input. With switches s(p), the place where the
maximum of the window p came from, windows P(p) and the sizes |P(p)| that an average divides by, the reverses are

    convolution      v'[c, q] = sum over k, p and u with q = stride p + dilation u - padding of w[k, c, u] v[k, p]
    max pooling      v'[q] = sum over p with s(p) = q of v[p]
    average pooling  v'[q] = sum over p with q in P(p) of v[p] / |P(p)|
    L2 pooling       v'[q] = sum over p with q in P(p) of v[p] x[q] / y[p],  with y[p] the pool's output and 0 where it is 0
    rectifier        v' = max(v, 0), whatever the rectifier let through on the way down
    norm, dropout    v' = v
    flatten          v' = v, in the shape of the input
    dense            v' = (v - b) W

The first three are the exact adjoints of the layer, biases left out and switches held: <v', x> = <v, f(x)>. Values that meet
in one place add up; ``nn.MaxUnpool2d`` keeps only one of them, which is wrong wherever windows overlap. Walked in the order of
the layers, this is the "(i) unpool, (ii) rectify and (iii) filter" of Zeiler and Fergus (Visualizing and Understanding
Convolutional Networks, ECCV 2014, section 2.1). The dense rule is DeNet's (report, section 7).

Nothing here uses autograd, so it runs under ``torch.inference_mode`` too, and leaves no gradients, hooks or changed modes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from viz_callbacks.chain import NotAChainError, chain


@dataclass(frozen=True, eq=False)
class Step:
    """One layer on the way down, with all that its reverse needs.

    ``layer`` shares its weights with the network's own layer, but is evaluating (no dropout, running statistics) and never in
    place. ``switches`` are a max pooling's indices into the rows times columns of its input, shaped like ``output``.
    """

    name: str
    layer: nn.Module
    input: Tensor
    output: Tensor
    switches: Tensor | None = None


FEW_CHANNELS = 16  # as many float32 as a vector register holds; libraries waste the rest on fewer

Reverse = Callable[[Step, Tensor], Tensor]
"""A layer's way back: the step and a value shaped like its output give a value shaped like its input."""


class UnknownLayerError(TypeError):
    """No reverse is known for a layer's type; the message says which layer, and how to add one."""

    def __init__(self, step: Step) -> None:
        kind = type(step.layer).__name__
        super().__init__(
            f"No reverse is known for the layer {step.name!r}, a {kind}. Add one: REVERSES[{kind}] = function(step, value), "
            f"which turns a value at the layer's output into one at its input.{why_closed(step.layer)}"
        )


# --- Down ---------------------------------------------------------------------------------------------------------------------


def named_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Give the layers in the order they run, under dotted names such as ``features.0``. One that is used twice comes twice.

    An nn.Sequential is opened up, and so is any other module whose forward is a ``chain``, unless its type has an entry in
    ``REVERSES``. A part that can't be opened comes as one layer. Raises NotAChainError, a TypeError, where the network can't.
    """
    for name, part in _parts(network):
        try:
            inner = list(named_layers(part))
        except NotAChainError:
            yield name, part
        else:
            yield from ((f"{name}.{further}", layer) for further, layer in inner)


def record(network: nn.Module, images: Tensor) -> list[Step]:
    """Run the network as if evaluating, whatever its mode, and keep each layer's input, output and switches.

    ``images`` is (N, C, H, W), in the network's own dtype; autocast is off in here. The modules' modes, running statistics and
    random numbers stay untouched. Raises NotAChainError as ``named_layers`` does, ValueError for other shapes.
    """
    if images.ndim != 4:
        raise ValueError(f"images must be (N, C, H, W), not {tuple(images.shape)}; give a single image as image[None].")
    steps: list[Step] = []
    value = images
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        for name, layer in named_layers(network):
            layer = as_evaluating(layer)
            if isinstance(layer, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
                layer.return_indices = True
                output, switches = layer.forward(value)  # not a call: hooks on a pool expect one tensor
                steps.append(Step(name, layer, value, output, switches))
            else:
                steps.append(Step(name, layer, value, layer(value)))
            value = steps[-1].output
    return steps


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    only_chains = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    if any(kind in REVERSES for kind in type(module).__mro__) or (_is_torchs_own(module) and not only_chains):
        raise NotAChainError(
            "A network is walked as a list of layers, so it must be an nn.Sequential or another module that runs layer after "
            f"layer, not a {type(module).__name__}: wrap it, or its parts, in nn.Sequential."
        )
    if only_chains:  # named_children() would leave out the second use of a layer
        return [(name, part) for name, part in module._modules.items() if part is not None]
    return chain(module)


def _is_torchs_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def why_closed(layer: nn.Module) -> str:
    """Say why a layer made of parts couldn't be opened up, and what to do; nothing for a layer without parts or of torch's."""
    if layer._modules and not _is_torchs_own(layer):
        try:
            chain(layer)
        except NotAChainError as problem:
            return f" {problem}"
    return ""


def as_evaluating(layer: nn.Module) -> nn.Module:
    """Give a shallow copy, with the same weights and buffers but flags of its own: not training, not in place, not compiled."""
    twin = object.__new__(type(layer))  # copy.copy() refuses layers with parametrizations
    parts = {name: child and as_evaluating(child) for name, child in layer._modules.items()}
    vars(twin).update(vars(layer), training=False, _modules=parts, _compiled_call_impl=None)
    if "inplace" in vars(twin):
        vars(twin)["inplace"] = False
    return twin


# --- Back, layer by layer -----------------------------------------------------------------------------------------------------


def transposed_filters(step: Step, value: Tensor) -> Tensor:
    """Convolve with the transposed filters, without the bias, to exactly the size of the input.

    Raises ValueError for a padding mode other than zeros: a reflected border has no transposed filter.
    """
    conv = cast(nn.Conv2d, step.layer)
    if conv.padding_mode != "zeros":
        raise ValueError(f"The convolution {step.name!r} has padding_mode {conv.padding_mode!r}; only 'zeros' has a reverse.")
    (top, bottom), (left, right) = padding_of(conv)
    images, channels, height, width = step.input.shape
    if channels < FEW_CHANNELS and conv.groups == 1 and conv.dilation == (1, 1):
        whole = interleaved(conv, value)
        return F.pad(whole, (-left, left + width - whole.shape[3], -top, top + height - whole.shape[2]))
    padded = (images, channels, height + bottom - top, width + right - left)
    # The ignore: torch.nn.grad has no types.
    back: Tensor = conv2d_input(padded, conv.weight, value, conv.stride, (top, left), conv.dilation, conv.groups)  # type: ignore[no-untyped-call]
    return back[..., :height, :width]


def interleaved(layer: nn.Conv2d, value: Tensor) -> Tensor:
    """The transposed convolution as an ordinary one with stride 1: four times as fast for AlexNet's conv1.

    Of the pixels that come out, those whose rows and columns leave the same rests when divided by the stride are a convolution
    of the values with every stride-th weight. Each of these grids is a channel here; interleaved they are the picture.
    """
    (down, across), (maps, channels, height, width) = layer.stride, layer.weight.shape
    rows, columns = -(-height // down), -(-width // across)
    filters = F.pad(layer.weight, (0, columns * across - width, 0, rows * down - height))
    filters = filters.view(maps, channels, rows, down, columns, across).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    grids = F.conv2d(value, filters.reshape(-1, maps, rows, columns), padding=(rows - 1, columns - 1))
    grids = grids.view(len(grids), channels, down, across, *grids.shape[2:])
    picture = grids.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
    return picture[:, :, : (value.shape[2] - 1) * down + height, : (value.shape[3] - 1) * across + width]


def padding_of(conv: nn.Conv2d) -> list[tuple[int, int]]:
    """Give the padding before and after the rows, and before and after the columns."""
    if conv.padding == "same":  # where it is odd, the extra row or column comes last
        total = [dilation * (size - 1) for dilation, size in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    return [(0, 0), (0, 0)] if isinstance(conv.padding, str) else [(p, p) for p in conv.padding]


def unpool(step: Step, value: Tensor) -> Tensor:
    """Put each value where its maximum came from; where windows overlap, values add up."""
    assert step.switches is not None
    places = value.new_zeros(step.input.shape).flatten(2)
    places.scatter_add_(2, step.switches.flatten(2), value.flatten(2))
    return places.view(step.input.shape)


def spread_evenly(step: Step, value: Tensor) -> Tensor:
    """Spread each value evenly over its window: divided by what the average was divided by."""
    pool = cast(nn.AvgPool2d, step.layer)
    rule = (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, pool.count_include_pad, pool.divisor_override)
    spread: Tensor = torch.ops.aten.avg_pool2d_backward(value, step.input, *rule)
    return spread


def spread_evenly_adaptive(step: Step, value: Tensor) -> Tensor:
    """Spread each value evenly over its window, for windows that follow from the output's size."""
    spread: Tensor = torch.ops.aten._adaptive_avg_pool2d_backward(value, step.input)
    return spread


def spread_by_share(step: Step, value: Tensor) -> Tensor:
    """Share each value over its window in proportion to input / output; nothing where the output is 0.

    For y = sqrt(sum of x x) this is the exact derivative. ``nn.LPPool2d`` itself enlarges y in a window that ``ceil_mode`` cuts
    short; the shares follow that y. Raises ValueError for a norm other than 2.
    """
    pool = cast(nn.LPPool2d, step.layer)
    if pool.norm_type != 2:
        raise ValueError(
            f"The pool {step.name!r} has norm_type {pool.norm_type}; only that of nn.LPPool2d(2, ...) has a reverse."
        )
    shares = torch.where(step.output == 0, 0, value / step.output)
    rule = (pool.kernel_size, pool.stride or pool.kernel_size, 0, pool.ceil_mode, True, 1)  # 1: sums, not averages
    sums: Tensor = torch.ops.aten.avg_pool2d_backward(shares, step.input, *rule)
    return step.input * sums


def rectify(step: Step, value: Tensor) -> Tensor:
    """Keep what is positive, independently of what the rectifier let through on the way down."""
    return F.relu(value)


def leaky_rectify(step: Step, value: Tensor) -> Tensor:
    """Keep what is positive, and the same small share of what is negative as on the way down."""
    return F.leaky_relu(value, cast(nn.LeakyReLU, step.layer).negative_slope)


def as_is(step: Step, value: Tensor) -> Tensor:
    """Pass the value on unchanged."""
    return value


def reshape(step: Step, value: Tensor) -> Tensor:
    """Give the value the shape of the layer's input."""
    return value.reshape(step.input.shape)


def dense(step: Step, value: Tensor) -> Tensor:
    """Subtract the bias, then multiply by the transposed weights: (v - b) W."""
    linear = cast(nn.Linear, step.layer)
    return (value if linear.bias is None else value - linear.bias) @ linear.weight


REVERSES: dict[type[nn.Module], Reverse] = {
    nn.Conv2d: transposed_filters,
    nn.MaxPool2d: unpool,
    nn.AdaptiveMaxPool2d: unpool,
    nn.AvgPool2d: spread_evenly,
    nn.AdaptiveAvgPool2d: spread_evenly_adaptive,
    nn.LPPool2d: spread_by_share,
    nn.ReLU: rectify,
    nn.LeakyReLU: leaky_rectify,
    nn.Tanh: as_is,  # its maps have both signs: there is no side to keep
    nn.Sigmoid: as_is,  # its maps are positive everywhere: 0 means nothing here
    nn.LocalResponseNorm: as_is,
    nn.BatchNorm2d: as_is,
    nn.SyncBatchNorm: as_is,
    nn.Dropout: as_is,
    nn.Dropout2d: as_is,
    nn.Identity: as_is,
    nn.Flatten: reshape,
    nn.Linear: dense,
}
"""The reverse of each layer type, and of the types derived from it. One more entry teaches the engine one more layer."""


# --- Back, all the way --------------------------------------------------------------------------------------------------------


def reverse_of(step: Step, reverses: Mapping[type[nn.Module], Reverse] = REVERSES) -> Reverse:
    """Give the reverse of the step's layer: its own type's, or else that of the nearest type it derives from.

    Raises UnknownLayerError where there is none.
    """
    for kind in type(step.layer).__mro__:
        if kind in reverses:
            return reverses[kind]
    raise UnknownLayerError(step)


def walk_back(steps: Sequence[Step], value: Tensor, reverses: Mapping[type[nn.Module], Reverse] = REVERSES) -> Tensor:
    """Walk a value at the output of the last step back to the input of the first: for all of ``record``'s steps, to the pixels.

    ``value`` is shaped like ``steps[-1].output``, the result like ``steps[0].input``. It may have negative values, as nothing
    rectifies after the last filter. Raises UnknownLayerError for a layer without a reverse, ValueError for another shape.
    """
    if steps and value.shape != steps[-1].output.shape:
        shapes = f"{tuple(value.shape)}, but the output of {steps[-1].name!r} is {tuple(steps[-1].output.shape)}"
        raise ValueError(f"The value to walk back is {shapes}.")
    with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
        for step in reversed(steps):
            value = reverse_of(step, reverses)(step, value)
    return value
