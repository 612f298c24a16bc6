"""The way back: one rule for each type of layer, and the walk through all of them.

A network is a graph of named layers; mostly it is a list. Going down it, each layer turns x at its input into y = f(x), and
``forward.record`` keeps what going back needs. Going back is the same graph reversed, each type of layer with its own few
lines: its rule turns a value v at the layer's output into v' at its input, down to the pixels.

    forward            back: v to v'
    -----------------  ------------------------------------------------------------------------------------------------------
    convolution        with the transposed filters, no bias:
                       v'[c, q] = sum over k, p and u with q = stride p + dilation u - padding of w[k, c, u] v[k, p]
    max pooling        to where the maximum came from:  v'[q] = sum over p with s(p) = q of v[p]
    average pooling    spread evenly:  v'[q] = sum over p with q in P(p) of v[p] / |P(p)|
    L2 pooling         in proportion:  v'[q] = sum over p with q in P(p) of v[p] x[q] / y[p], and 0 where y[p] is 0
    rectifier          rectified:  v' = max(v, 0), whatever the rectifier let through on the way down
    norm               times what it multiplied by:  v' = v g / sqrt(var + eps), statistics held
    dropout, LRN       as it is:  v' = v
    flatten            unflattened:  v' = v, in the shape of x
    dense              minus the bias, times the transposed weights:  v' = (v - b) W
    sum                to both:  v' = v for each
    concatenation      split
    gate               times the gate, held:  v' = v g for what was multiplied, nothing for the gate g
    other linear maps  their adjoint: padding, upsampling, a mean, a change of shape

and where a value was used twice, what comes back adds up. Here w are filters, W (outputs, inputs) and b the weights and biases
of a dense layer y = x W^T + b, k and c channels of the output and the input, p and q places in them, u places in a filter, s(p)
the switch of the pooling window p (the place of its maximum), P(p) the places in it and |P(p)| what its average divides by.
Values that meet in one place add up: ``nn.MaxUnpool2d`` keeps only one of them, which is wrong wherever windows overlap. The
rules of convolution, of pooling, of norms and of what joins branches are exact adjoints of the layers, biases left out and
switches, statistics and gates held: <v', x> = <v, f(x)>.

In the order of the layers this is the "(i) unpool, (ii) rectify and (iii) filter" of Zeiler and Fergus (Visualizing and
Understanding Convolutional Networks, ECCV 2014, section 2.1), who leave out local response normalisation on the way back. Batch
norm isn't left out: when evaluating it is a part of the convolution before it, and folding it into that changes no picture. The
dense rule is DeNet's (report, section 7).

All of it runs under ``torch.inference_mode`` too, and leaves no gradients, hooks or changed modes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from viz_callbacks.engine.function_layers import LinearFunction, Product
from viz_callbacks.engine.layer_trace import LayerTrace
from viz_callbacks.engine.registry import BACKWARD_RULES, Back, BackwardFunction, UnknownLayerError, backward_rule, rule_for
from viz_callbacks.engine.rules.activations import as_activation, leaky_rectify, rectify, rectify_if_never_negative
from viz_callbacks.engine.rules.branches import split, through_gate, to_both
from viz_callbacks.engine.rules.linear import conv_transpose, layer_adjoint, linear_transpose, transposed_weights
from viz_callbacks.engine.rules.norms import batch_norm_scale, identity
from viz_callbacks.engine.rules.pools import avg_unpool, max_unpool

__all__ = [
    "BACKWARD_RULES", "Back", "BackwardFunction", "UnknownLayerError", "as_activation", "avg_unpool", "backproject",
    "backward_rule", "batch_norm_scale", "blocked_layers", "conv_transpose", "identity", "layer_adjoint", "leaky_rectify",
    "linear_transpose",
    "max_unpool", "rectify", "rectify_if_never_negative", "rule_for", "split", "through_gate", "to_both", "transposed_weights",
]  # fmt: skip


def backproject(
    traces: Sequence[LayerTrace], value: Tensor, rules: Mapping[type[nn.Module], BackwardFunction] = BACKWARD_RULES
) -> Tensor:
    """Walk a value at the output of the last trace back to the input of the first: for all of ``record``'s, to the pixels.

    >>> from viz_callbacks.engine.forward import record
    >>> traces = record(nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU()), torch.randn(2, 3, 33, 33))
    >>> backproject(traces, traces[-1].output).shape
    torch.Size([2, 3, 33, 33])

    Args:
        traces: first to last, with every layer between the first one's input and the last.
        value: v, shaped like the last trace's output.
        rules: what each type of layer does with it.

    Returns:
        A tensor shaped like the first trace's input. It may have negative values, as nothing rectifies after the last filter.

    Raises:
        UnknownLayerError: a layer has no rule.
        ValueError: ``value`` has another shape than the last output, or a rule looks at numbers that were let go.
    """
    if not traces:
        return value
    if value.shape != traces[-1].output.shape:
        shapes = f"{tuple(value.shape)}, but the output of {traces[-1].name!r} is {tuple(traces[-1].output.shape)}"
        raise ValueError(f"The value to walk back is {shapes}.")
    arrived = {traces[-1].name: value}  # v at the outputs of layers, by name
    with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
        for trace in reversed(traces):
            if trace.name not in arrived:  # on a branch that doesn't lead to the start
                continue
            for source, part in zip(trace.sources, _back(trace, arrived.pop(trace.name), rules), strict=True):
                if part is not None:
                    arrived[source] = arrived[source] + part if source in arrived else part
    start = traces[0].sources[0]
    return arrived[start] if start in arrived else value.new_zeros(traces[0].input.shape)


def _back(trace: LayerTrace, value: Tensor, rules: Mapping[type[nn.Module], BackwardFunction]) -> tuple[Tensor | None, ...]:
    """Return what comes back to each input of a layer."""
    rule = rule_for(trace, rules)
    let_go = [
        name for name, each in zip((*trace.sources, trace.name), (*trace.inputs, trace.output), strict=True) if each.is_meta
    ]
    problem: RuntimeError | None = None
    try:
        back = rule(trace, value)
        parts = back if isinstance(back, tuple) else (back,)
        if not any(part is not None and part.is_meta for part in parts):
            return parts
    except RuntimeError as error:
        if not let_go or "meta" not in str(error).lower():  # as torch's messages on such tensors all say
            raise
        problem = error
    raise ValueError(
        f"The rule for {trace.name!r} looks at numbers that were let go: record(network, images, keep={let_go})."
    ) from problem


def blocked_layers(traces: Sequence[LayerTrace]) -> dict[str, str]:
    """Return from which layers' outputs there is no way back to the input of the first trace, by name, each with the reason.

    >>> from viz_callbacks.engine.forward import record
    >>> list(blocked_layers(record(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmin(1), nn.ReLU()), torch.randn(1, 3, 6, 6))))
    ['1', '2']
    """
    reasons: dict[str, str] = {}
    for trace in traces:
        try:
            rule_for(trace)
        except UnknownLayerError as problem:
            reasons[trace.name] = str(problem)
            continue
        for source in _followed_sources(trace):
            if source in reasons:
                reasons[trace.name] = reasons[source]
    return reasons


def _followed_sources(trace: LayerTrace) -> tuple[str, ...]:
    """Return the sources that something comes back to: not what a gate was computed from, nor what only gives its shape."""
    match trace.layer:
        case Product(gate=gate):
            return (trace.sources[1 - gate],)
        case LinearFunction(carried=carried):
            return trace.sources[:carried]
    return trace.sources
