"""Controls: does a picture depend on what the network has learnt, and does the network depend on what the picture shows?

Adebayo et al. 2018 (Sanity Checks for Saliency Maps, arXiv 1810.03292) randomise a network's weights from the output down: a
picture that stays as it was says nothing of what was learnt. Petsiuk et al. 2018 (RISE, arXiv 1806.07421) take the pixels
away, or bring them, in the order of a picture: if they matter, the class's probability falls, or rises, quickly.
"""

import copy
import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz_callbacks.engine.forward import eval_copy, named_layers

BATCH_SIZE = 32  # images that the network answers together


def cascading_randomization(network: nn.Module, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Networks in which the last one, two, ... all layers with weights have new ones, and the name of the last one changed.

    The new weights of a layer are normally distributed with the mean and the deviation of its own. Each network given is the
    same object, changed further; weights that are still the network's own are shared with it.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    twin = copy.deepcopy(network, shared)
    generator = torch.Generator().manual_seed(seed)
    for name, layer in reversed(list(named_layers(twin))):
        own = dict(layer.named_parameters(recurse=False))
        for key, weights in own.items():
            noise = torch.empty(weights.shape, dtype=torch.float32).normal_(generator=generator).to(weights)
            fresh = noise.mul_(weights.detach().std(correction=0)).add_(weights.detach().mean())
            setattr(layer, key, nn.Parameter(fresh, requires_grad=False))
        if own:
            yield name, twin


def deletion_curve(network: nn.Module, images: Tensor, targets: Tensor, pictures: Tensor, steps: int = 16) -> Tensor:
    """Probability of the true class as pixels become 0, the most energetic of ``pictures`` first: (N, steps + 1).

    The same number of pixels at each step: all are there at first, none at last. Images and pictures (N, C, H, W), ``targets``
    (N,). The lower the curve, the more the class depends on what the picture shows.
    """
    return _exchange(network, images, torch.zeros_like(images), targets, pictures, steps)


def insertion_curve(network: nn.Module, images: Tensor, targets: Tensor, pictures: Tensor, steps: int = 16) -> Tensor:
    """As ``deletion_curve``, from the blurred image to the sharp one. The higher the curve, the better the picture."""
    return _exchange(network, blur(images), images, targets, pictures, steps)


def _exchange(network: nn.Module, old: Tensor, new: Tensor, targets: Tensor, pictures: Tensor, steps: int) -> Tensor:
    """The true class's probability as pixels of ``old`` are exchanged for those of ``new``, in the order of ``pictures``."""
    order = pictures.double().square().sum(1).flatten(1).argsort(dim=1, descending=True, stable=True)
    numbers = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, numbers).view(len(old), 1, *old.shape[2:])
    variants = (torch.where(rank < round(step * order.shape[1] / steps), new, old) for step in range(steps + 1))
    answering = eval_copy(network)
    curve: list[Tensor] = []  # (N,) each
    with torch.no_grad(), torch.autocast(old.device.type, enabled=False):
        while images := list(itertools.islice(variants, max(1, BATCH_SIZE // len(old)))):
            probabilities = answering(torch.cat(images)).float().softmax(1)
            curve += probabilities.gather(1, targets.repeat(len(images))[:, None]).view(len(images), -1)
    return torch.stack(curve, 1)


def blur(images: Tensor, sigma: float = 5.0) -> Tensor:
    """Images (N, C, H, W) blurred by a Gauss curve of ``sigma`` pixels, edges continued: where insertion starts from."""
    reach = min(int(3 * sigma), *(side - 1 for side in images.shape[2:]))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device) / sigma) ** 2)
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)
    wide = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    along = F.conv2d(wide, weights, groups=images.shape[1])
    return F.conv2d(along, weights.transpose(2, 3), groups=images.shape[1])
