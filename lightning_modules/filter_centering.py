"""Convolution filters that keep mean 0: it is taken away at the start and after each step.

With w_k the weights of filter k:

    w_k <- w_k - mean(w_k)

A filter's mean answers to what all images have in common, the mean of a rectified layer: without that AlexNet's logits, before
training, differ 1.7 times as much from image to image, for their size. Trained with it, deep layers show single strokes beside
the object, and accuracy falls (results/recipe.md). Centred weight normalisation (Huang et al. 2017, ICCV, section 3) and weight
standardisation (Qiao et al. 2019, arXiv 1903.10520, section 3) do the same to the mean, beside a fixed norm. Here it is a
projection after the step instead of a part of the network, so that nothing of it is left after training.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def conv_weights(network: nn.Module) -> list[Tensor]:
    """Return the weights (K, C, h, w) of all convolutions, in the network's order."""
    return [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d)]


@torch.no_grad()
def are_centered(layers: Iterable[Tensor]) -> bool:
    """Tell whether the mean of each filter of all layers' weights (K, C, h, w) is 0 but for rounding."""
    return all(
        bool((weights.mean((1, 2, 3)).abs() <= 1e-4 * weights.square().mean((1, 2, 3)).sqrt()).all()) for weights in layers
    )


@torch.no_grad()
def center_filters(layers: Iterable[Tensor]) -> None:
    """Take each filter's mean away from it, in all layers' weights (K, C, h, w), in place."""
    for weights in layers:
        weights.sub_(weights.mean((1, 2, 3), keepdim=True))
