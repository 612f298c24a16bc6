"""A training step of the project and the same step written plainly in PyTorch."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import Row, in_turns, rates
from configs import ModelSettings, OptimSettings
from experiment.hardware import configure_malloc
from lightning_modules.classifier import clip_gradient
from lightning_modules.networks.layers import LocalResponseNorm, pool_before_relu
from lightning_modules.networks.registry import IMAGE_SIZES, build_network

BATCH = 64
CLASSES = 101
CLIP = OptimSettings().clip

Step = Callable[[], Tensor]


def plain(network: nn.Sequential) -> nn.Sequential:
    """Return the same network with PyTorch's own norm, in the layers' own order and PyTorch's usual layout in memory."""
    twin = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for name, layer in list(twin.named_children()):
        if isinstance(layer, LocalResponseNorm):
            setattr(twin, name, nn.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k))
    return twin


def batch(size: int) -> tuple[Tensor, Tensor]:
    """Draw a batch of noise (64, 3, size, size), and classes (64,)."""
    return torch.randn(BATCH, 3, size, size), torch.randint(CLASSES, (BATCH,))


def our_step(
    network: nn.Sequential, images: Tensor, targets: Tensor, precision: str = "32-true", shared: nn.Module | None = None
) -> Step:
    """Build a step: forward, backward, clipping and update as ``Classifier`` does them. It returns the loss.

    Args:
        network: to train.
        images: (N, 3, H, W).
        targets: (N,) classes.
        precision: ``32-true`` or ``bf16-mixed``.
        shared: computes the forward in place of the network, and adds up its gradients over several processes.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, 0.9, nesterov=True, fused=True)
    weights = list(network.parameters())

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = (shared or pool_before_relu(network))(images)
        loss = F.cross_entropy(logits.float(), targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        clip_gradient(weights, CLIP)
        optimizer.step()
        return loss.detach()

    return step


def plain_step(network: nn.Sequential, images: Tensor, targets: Tensor) -> Step:
    """Build the same step as a tutorial writes it."""
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, 0.9, nesterov=True)

    def step() -> Tensor:
        loss = F.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        return loss.detach()

    return step


def training_steps(name: str, repeats: int) -> list[Row]:
    """Measure ours against plain in one process, in float32 and ours in bfloat16; its arithmetic against sgemm."""
    torch.manual_seed(0)
    size = IMAGE_SIZES[name]
    network = build_network(ModelSettings(name=name, dropout=0.0), CLASSES).to(memory_format=torch.channels_last)
    images, targets = batch(size)
    theirs = plain_step(plain(network), images, targets)
    ours = our_step(copy.deepcopy(network), images, targets)
    half = our_step(copy.deepcopy(network), images, targets, "bf16-mixed")
    for turn in range(3):  # three updates, so that gradients are compared as well as values
        torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-4, msg=f"{name}: the losses differ at step {turn}")

    matrices = torch.randn(2, 4096, 4096)
    ways = [ours, half, theirs, lambda: matrices[0] @ matrices[1]]
    configure_malloc()
    our, halved, their, product = in_turns(ways, repeats)
    with FlopCounterMode(display=False) as counter:
        theirs()
    flops = counter.get_total_flops()
    title = f"{name} step, {size} px, batch {BATCH}"
    share = [(flops / mine) / (2 * 4096**3 / gemm) for mine, gemm in zip(our, product, strict=True)]
    speed = rates("", our, product, 1, "", "")
    return [
        rates(title, our, their, BATCH, "images/s", "times as fast as plain PyTorch"),
        rates(f"{title}: bf16-mixed", halved, their, BATCH, "images/s", "times as fast as plain PyTorch in float32"),
        Row(
            f"{title}: arithmetic", flops * speed.ours / 1e9, 2 * 4096**3 * speed.theirs / 1e9, "GFLOP/s",
            sorted(share)[len(share) // 2], (min(share), max(share)), "of sgemm, 4096 x 4096 x 4096",
        ),
    ]  # fmt: skip
