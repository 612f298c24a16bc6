"""The gradient against autograd on the network itself."""

import torch

from tests.small_network import small_network
from viz_callbacks.methods.gradient import gradient


def test_it_is_that_of_autograd_also_in_inference_mode_and_leaves_the_network_alone() -> None:
    torch.manual_seed(0)
    network, images, targets = small_network(), torch.randn(4, 3, 67, 67), torch.tensor([0, 5, 2, 2])
    pixels = images.clone().requires_grad_()
    logits = network.eval()(pixels)
    (expected,) = torch.autograd.grad(logits[torch.arange(4), targets].sum(), pixels)
    network.train()
    torch.testing.assert_close(gradient(network, images, targets), expected)
    with torch.inference_mode():
        torch.testing.assert_close(gradient(network, images.clone(), targets.clone()), expected)
    assert network.training
    assert all(weights.grad is None for weights in network.parameters())
