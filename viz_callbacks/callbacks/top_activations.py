"""A callback for figures 2 and 4 of Zeiler and Fergus: what maps respond to most, and how that changes over the epochs."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn

from viz_callbacks.callbacks.base import Picture, PictureCallback
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import Pixels, signed_picture
from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.methods.top_activations import Load, MapTopActivations, top_activation_pictures
from viz_callbacks.methods.unit_projection import MEMORY_LIMIT
from viz_callbacks.metrics.top_activations import TopActivationHooks

EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)  # those of Zeiler and Fergus's figure 4


@dataclass(frozen=True)
class ReferenceImages:
    """The images that are watched, in the order in which a loader gives them.

    loader: that loader's name where the validation has several, None for the only one. names: of the images. load: images by
    number, as the network takes them. show: such images (N, 3, H, W), or pieces of them, as uint8 for people.
    """

    loader: str | None
    names: Sequence[str]
    load: Load
    show: Callable[[Tensor], Tensor]


class TopActivationPictures(PictureCallback):
    """Per convolution layer: the nine strongest activations of some maps, found while the validation runs, and their history.

    Args:
        folder: where the pictures go: ``<layer>/epoch-001.jpg`` and ``<layer>/evolution.jpg``.
        reference_images: the images that are watched.
        maps: how many maps of each layer, evenly spaced over all of them; all where it has fewer.
        epochs: those that the history shows besides the last; only where pictures are made, see ``every_n_epochs``.
        memory_limit: bytes for the largest tensors of a batch of projections.
        when: as for ``PictureCallback``.
    """

    name = "strongest"

    def __init__(
        self,
        folder: Path,
        reference_images: ReferenceImages,
        maps: int = 4,
        epochs: Sequence[int] = EPOCHS,
        memory_limit: int = MEMORY_LIMIT,
        **when: Any,
    ) -> None:
        super().__init__(folder, **when)
        self.reference_images = reference_images
        self.maps = maps
        self.epochs = epochs
        self.memory_limit = memory_limit
        self._watch: TopActivationHooks | None = None
        self._found: dict[str, dict[str, Tensor]] = {}
        self._seen = 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch, where pictures are due."""
        if self.maps > 0 and self.is_due(trainer) and not trainer.sanity_checking:
            network = getattr(pl_module, self.network)
            self._watch = TopActivationHooks(network, convolution_layers(network)).__enter__()
            self._seen = 0

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Say which images come now. Each process sees every so-many-th of them."""
        if self._watch is None:
            return
        loaders = trainer.val_dataloaders
        name = list(loaders)[dataloader_idx] if isinstance(loaders, dict) else None
        if name != self.reference_images.loader:
            self._watch.show(None)
            return
        numbers = torch.arange(self._seen, self._seen + len(batch[0]))
        self._seen += len(batch[0])
        self._watch.show(numbers * trainer.world_size + trainer.global_rank)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop watching; bring together what all processes found."""
        if self._watch is not None:
            self._watch.__exit__()
            self._found = {layer: metric.compute() for layer, metric in self._watch.found.items()}
            self._watch = None

    def make(self, network: nn.Module, epoch: int) -> Iterator[Picture]:
        """One picture for each layer, of what the validation before has found."""
        like = next(network.parameters())  # in device and kind of numbers

        def load(numbers: Sequence[int]) -> Tensor:
            return self.reference_images.load(numbers).to(like)

        for layer, found in self._found.items():
            count = len(found["values"])
            shown = min(self.maps, count)
            maps = [round(number * count / shown) for number in range(shown)]
            yield self._picture(
                layer, list(top_activation_pictures(network, layer, maps, found, load, self.memory_limit)), count, epoch
            )

    def _picture(self, layer: str, found: list[MapTopActivations], count: int, epoch: int) -> Picture:
        ranges = {f"map-{each.map + 1}": self.range(f"{layer}/{each.map}", each.projections) for each in found}
        lines = [
            f"Strongest activations of {layer}, epoch {epoch}: {len(found)} of {count} maps",
            f"of {len(self.reference_images.names)} images, one activation of each, projected one by one, beside their receptive fields",
        ]
        blocks: list[tuple[str, Pixels, Pixels]] = []
        sprites: dict[str, Pixels] = {}
        for each, (name, white) in zip(found, ranges.items(), strict=True):
            projections = np.stack([signed_picture(projection, white) for projection in each.projections])
            patches = self.reference_images.show(each.patches).permute(0, 2, 3, 1).cpu().numpy()
            dead = " (dead)" if each.values[0] <= 0 else ""
            blocks.append((f"map {each.map + 1}{dead}: {each.values[0]:.3g} to {each.values[-1]:.3g}", projections, patches))
            sprites |= {f"{name}-projections": np.hstack(list(projections)), f"{name}-patches": np.hstack(list(patches))}
        facts = {
            "maps": [
                {
                    "map": each.map + 1,
                    "values": each.values,
                    "images": [self.reference_images.names[image] for image in each.images],
                }
                for each in found
            ]
        }
        return Picture(layer, sheets.top9_sheet(lines, blocks), "\n".join(lines), sprites, ranges, facts)

    def on_saved(self, epoch: int) -> None:
        """Draw the history anew from what is on disk: an interrupted run goes on with it."""
        for layer in self._found:
            self._history(layer, epoch)

    def _history(self, layer: str, last: int) -> None:
        index = json.loads((self.folder / "index.json").read_text())
        epochs = sorted(int(epoch) for epoch in index if int(epoch) in self.epochs or int(epoch) == last)
        rows: dict[int, list[tuple[Pixels, str, str]]] = {}
        for epoch in epochs:
            (entry,) = (entry for entry in index[f"{epoch}"] if entry["place"] == layer)
            for facts in entry["maps"]:
                file = self.folder / entry["sprites"][f"map-{facts['map']}-projections"]
                with Image.open(file) as sprite:
                    first = np.asarray(sprite.convert("RGB"))[:, : sprite.height]
                name = facts["images"][0].rsplit(".", 1)[0].replace("image_", "").replace("/", "\n")
                rows.setdefault(facts["map"], []).append((first, f"epoch {epoch}", name))
        lines = [
            f"{layer}: the projection of each map's strongest activation, over the epochs",
            "below: the image it comes from; another one means another subject, not another filter",
        ]
        strip = sheets.strip_sheet(lines, [(f"map {number}", cells) for number, cells in rows.items()])
        strip.save(self.folder / layer / "evolution.jpg", quality=88, subsampling=0)
