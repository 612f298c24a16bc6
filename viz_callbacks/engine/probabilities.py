"""The probabilities of classes, whether a network ends in logits or in a softmax or sigmoid of its own."""

import torch
from torch import Tensor, nn

from viz_callbacks.engine.graph import trace_network
from viz_callbacks.engine.tracing import UntraceableError


def class_probabilities(last: nn.Module | None, output: Tensor) -> Tensor:
    """Return probabilities (N, classes), in single precision at least, from a network's output.

    >>> class_probabilities(nn.Softmax(1), torch.tensor([[0.25, 0.75]])).tolist()
    [[0.25, 0.75]]

    Args:
        last: the network's last layer. After nn.Softmax, nn.LogSoftmax and nn.Sigmoid the output isn't normalised again.
        output: (N, classes). A single logit is the one of a yes or no, whose probability is its sigmoid.
    """
    output = output if output.dtype == torch.float64 else output.float()
    match last:
        case nn.Softmax() | nn.Sigmoid():
            return output
        case nn.LogSoftmax():
            return output.exp()
    if output.shape[1] == 1:
        return output.sigmoid()
    return output.softmax(1)


def last_layer(network: nn.Module) -> nn.Module | None:
    """Return the layer that gives a network's output; None for a network that can't be followed.

    >>> last_layer(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Softmax(1)))
    Softmax(dim=1)
    """
    try:
        nodes = trace_network(network).nodes
    except UntraceableError:
        return None
    return nodes[-1].layer if nodes else None
