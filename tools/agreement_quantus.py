"""Our metrics against Quantus 0.6, where both define the same: ``python -m tools.agreement_quantus``.

Needs ``pip install quantus==0.6.*``; writes results/agreement-quantus.md. Quantus ranks the values of an image, not its pixels,
so the curves are those of grey images. Its pixel flipping leaves out a curve's first point, and it has no insertion: that is
pixel flipping of the blurred image with the sharp one's pixels.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import quantus
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from viz_callbacks.methods.sanity_checks import blur, deletion_curve, insertion_curve
from viz_callbacks.metrics.localisation import EnergyPointingGame, PointingGame

PAGE = Path(__file__).parents[1] / "results" / "agreement-quantus.md"
IMAGES, SIZE, STEPS = 64, 32, 16

AS_IT_IS = {"abs": False, "normalise": False, "disable_warnings": True}

Array = NDArray[np.floating]


def main() -> None:
    """Compare on random images, projections and masks, and write the page."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(8 * 9 * 9, 6)
    network = nn.Sequential(*layers).eval()  # Quantus computes in single precision
    images, projections = torch.randn(2, IMAGES, 1, SIZE, SIZE)
    targets, masks = torch.randint(6, (IMAGES,)), rectangles()
    seen = network, images, targets, projections
    pointing, mass = PointingGame(), EnergyPointingGame()
    pointing.update(projections, masks)
    mass.update(projections, masks)
    explained = {
        "model": network, "x_batch": images.numpy(), "y_batch": targets.numpy(), "a_batch": projections.square().numpy(),
        "s_batch": masks[:, None].numpy(), "device": "cpu",
    }  # fmt: skip
    theirs_on_objects = [kind(**AS_IT_IS)(**explained) for kind in (quantus.PointingGame, quantus.RelevanceMassAccuracy)]
    black = flipped(network, images, torch.zeros_like(images), targets, projections)
    sharp = flipped(network, blur(images), images, targets, projections)
    rows = [
        ("deletion, each point of the curves", deletion_curve(*seen, STEPS)[:, 1:], black),
        ("insertion, each point of the curves", insertion_curve(*seen, STEPS)[:, 1:], sharp),
        ("pointing game", pointing.per_image(), np.asarray(theirs_on_objects[0], dtype=float)),
        ("energy pointing game; relevance mass accuracy there", mass.per_image(), np.asarray(theirs_on_objects[1])),
    ]
    PAGE.write_text(page(rows))


def rectangles() -> Tensor:
    """Return masks (N, H, W): one on each image."""
    masks = torch.zeros(IMAGES, SIZE, SIZE, dtype=torch.bool)
    for mask, (top, left, height, width) in zip(masks, torch.randint(4, 16, (IMAGES, 4)).tolist(), strict=True):
        mask[top : top + height, left : left + width] = True
    return masks


def flipped(network: nn.Module, old: Tensor, new: Tensor, targets: Tensor, projections: Tensor) -> Array:
    """Return Quantus's curves (N, steps) as pixels of ``old`` become those of ``new``."""
    exchange = exchange_for(new.flatten(1).numpy())
    metric = quantus.PixelFlipping(features_in_step=SIZE * SIZE // STEPS, perturb_func=exchange, **AS_IT_IS)
    curves = metric(
        model=network, x_batch=old.numpy(), y_batch=targets.numpy(), a_batch=projections.square().numpy(), softmax=True,
        device="cpu", batch_size=IMAGES,
    )  # fmt: skip
    return np.asarray(curves)


def exchange_for(there: Array) -> Callable[..., Array]:
    """Return a function that exchanges values of images, by their indices, for those that are given."""

    def exchange(arr: Array, indices: NDArray[np.int64], perturb_baseline: str = "") -> Array:
        changed = arr.copy()
        np.put_along_axis(changed, indices, np.take_along_axis(there, indices, 1), 1)
        return changed

    return exchange


def page(rows: list[tuple[str, Tensor, Array]]) -> str:
    """Return the table of means and largest differences."""
    lines = [
        "# Agreement with Quantus",
        "",
        f"`python -m tools.agreement_quantus`: {IMAGES} random grey images of {SIZE} pixels, a small random network, random",
        f"projections and masks, {STEPS} steps; Quantus {quantus.__version__}.",
        "",
        "| metric | ours, mean | Quantus, mean | largest difference |",
        "|---|---|---|---|",
    ]
    for name, ours, theirs in rows:
        difference = np.abs(ours.double().numpy() - theirs).max()
        lines.append(f"| {name} | {float(ours.double().mean()):.6f} | {float(theirs.mean()):.6f} | {difference:.1e} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
