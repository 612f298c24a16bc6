"""Convolution filters that turn more than they grow: after each step they get mean 0 again, and those too long are shortened.

Photographs hardly reach the high frequencies of a filter, so what the random start put there stays for as long as nothing takes
it away; and a filter whose steps are small beside its weights stays what it was. With a norm that can't grow, a rate relative
to it is an angle that means the same in every layer, and what a filter learns displaces what it began as; weight decay takes
away the rest. With w_k the weights of filter k and L the largest norm:

    w_k <- v min(1, L / |v|)   with   v = w_k - mean(w_k)

The mean is taken away since it answers to what all images have in common, the mean of a rectified layer: before training,
AlexNet's logits then differ 1.7 times as much from image to image, for their size. A filter may become shorter: with one fixed
norm, a filter that had better answer less can only turn to what photographs don't have, fine noise (results/recipe.md). This is
scaled weight standardisation (Qiao et al. 2019, arXiv 1903.10520, section 3; Brock et al. 2021, arXiv 2101.08692, section 3)
with a largest instead of a fixed norm (the max-norm of Srivastava et al. 2014, JMLR 15, section 5.1), as a projection after the
step instead of a part of the network, so that nothing of it is left after training.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

FILTER_NORM = math.sqrt(2)
"""The norm that He's initialisation gives to a filter of any size: n weights of variance 2 / n."""


def conv_weights(network: nn.Module) -> list[Tensor]:
    """Return the weights (K, C, h, w) of all convolutions, in the network's order."""
    return [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d)]


@torch.no_grad()
def are_standardized(layers: Iterable[Tensor]) -> bool:
    """Tell whether all filters of all layers' weights (K, C, h, w) are such as ``standardize_filters`` leaves alone."""
    for weights in layers:
        standardized = weights.clone()
        standardize_filters([standardized])
        if not torch.allclose(weights, standardized, atol=1e-4 * FILTER_NORM):
            return False
    return True


@torch.no_grad()
def standardize_filters(layers: Iterable[Tensor]) -> None:
    """Bring each filter of each layer's weights (K, C, h, w) to mean 0 and a norm of at most ``FILTER_NORM``, in place."""
    for weights in layers:
        weights.sub_(weights.mean((1, 2, 3), keepdim=True))
        norm = weights.square().sum((1, 2, 3), keepdim=True).sqrt()
        weights.mul_((FILTER_NORM / norm).clamp(max=1))
