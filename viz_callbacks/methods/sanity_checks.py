"""Controls: does a projection depend on what the network has learnt, and does the network depend on what the projection shows?

Adebayo et al. 2018 (Sanity Checks for Saliency Maps, arXiv 1810.03292) randomise a network's weights from the output down: a
projection that stays as it was says nothing of what was learnt. Petsiuk et al. 2018 (RISE, arXiv 1806.07421) take the pixels
away, or bring them, in the order of a projection: if they matter, the class's probability falls, or rises, quickly.
"""

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.copies import eval_copy
from viz_callbacks.engine.expressions import Attribute, parts_of
from viz_callbacks.engine.function_layers import Function
from viz_callbacks.engine.graph import trace_network
from viz_callbacks.engine.probabilities import class_probabilities, last_layer
from viz_callbacks.engine.tracing import unwrapped

BATCH_SIZE = 32  # images in a forward pass


def cascading_randomization(network: nn.Module, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Yield networks in which the last one, two, ... all layers with weights are random, and the layer that was changed last.

    The new weights of a layer are normally distributed with the mean and the standard deviation of its own; those of one kind,
    such as the scales of a batch norm, each by themselves. Running statistics, which aren't learnt, stay. Each network given is
    the same object, changed further; weights that are still the network's own are shared with it. Adebayo et al. 2018.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    >>> [layer for layer, _ in cascading_randomization(network)]
    ['3', '0']

    Args:
        network: stays as it is.
        seed: draws the weights.
    """
    randomised = eval_copy(unwrapped(network))
    generator = torch.Generator().manual_seed(seed)
    changed: set[tuple[int, str]] = set()
    for node in reversed(trace_network(randomised).nodes):
        own = [(owner, key) for owner, key in _weights_of(node.layer) if (id(owner), key) not in changed]
        changed.update((id(owner), key) for owner, key in own)
        for owner, key in own:
            weights = getattr(owner, key)
            noise = torch.empty(weights.shape, dtype=torch.float32).normal_(generator=generator).to(weights)
            fresh = noise.mul_(weights.detach().std(correction=0)).add_(weights.detach().mean())
            setattr(owner, key, nn.Parameter(fresh, requires_grad=False))
        if own:
            yield node.name, randomised


def _weights_of(layer: nn.Module) -> list[tuple[nn.Module, str]]:
    """Return the parameters of a layer and all that it is made of, or those that a function takes: by owner and name."""
    if not isinstance(layer, Function):
        return [(module, key) for module in layer.modules() for key, _ in module.named_parameters(recurse=False)]
    taken = [
        part for part in parts_of(layer.expression) if isinstance(part, Attribute) and isinstance(part.get(), nn.Parameter)
    ]
    return [(owner, part.name) for part in taken if (owner := part.owner()) is not None]


def deletion_curve(network: nn.Module, images: Tensor, targets: Tensor, projections: Tensor, steps: int = 16) -> Tensor:
    """Return the probability of the true class as pixels become 0, those with the most energy in the projections first.

    The same number of pixels at each step: all are there at first, none at last. The lower the curve, the more the class
    depends on what the projection shows. Petsiuk et al. 2018, with the energy for the importance.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    >>> deletion_curve(network, torch.randn(5, 3, 8, 8), torch.ones(5).long(), torch.randn(5, 3, 8, 8), steps=4).shape
    torch.Size([5, 5])

    Args:
        network: from images to logits, or to the probabilities of a last softmax.
        images: (N, C, H, W), as the network takes them.
        targets: the true classes, (N,) of int64.
        projections: R, (N, C, H, W).
        steps: of the curve.

    Returns:
        The curves, (N, steps + 1).
    """
    return _exchange(network, images, torch.zeros_like(images), targets, projections, steps)


def insertion_curve(network: nn.Module, images: Tensor, targets: Tensor, projections: Tensor, steps: int = 16) -> Tensor:
    """Return what ``deletion_curve`` does, from the blurred image to the sharp one: the higher, the better the projection."""
    return _exchange(network, blur(images), images, targets, projections, steps)


def _exchange(network: nn.Module, old: Tensor, new: Tensor, targets: Tensor, projections: Tensor, steps: int) -> Tensor:
    """Return the true class's probability as pixels of ``old`` are exchanged for those of ``new``, by falling energy."""
    order = projections.double().square().sum(1).flatten(1).argsort(dim=1, descending=True, stable=True)
    numbers = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, numbers).view(len(old), 1, *old.shape[2:])
    variants = (torch.where(rank < round(step * order.shape[1] / steps), new, old) for step in range(steps + 1))
    evaluating, last = eval_copy(unwrapped(network)), last_layer(network)
    curve: list[Tensor] = []  # (N,) each
    with torch.no_grad(), torch.autocast(old.device.type, enabled=False):
        while images := list(itertools.islice(variants, max(1, BATCH_SIZE // len(old)))):
            probabilities = class_probabilities(last, evaluating(torch.cat(images)))
            curve += probabilities.gather(1, targets.repeat(len(images))[:, None]).view(len(images), -1)
    return torch.stack(curve, 1)


def blur(images: Tensor, sigma: float = 5.0) -> Tensor:
    """Return images (N, C, H, W) blurred by a Gaussian of ``sigma`` pixels, edges continued: where insertion starts from."""
    reach = min(int(3 * sigma), *(side - 1 for side in images.shape[2:]))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device) / sigma) ** 2)
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)
    wide = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    along = F.conv2d(wide, weights, groups=images.shape[1])
    return F.conv2d(along, weights.transpose(2, 3), groups=images.shape[1])
