"""A callback for figures 2 and 4 of Zeiler and Fergus: what maps respond to most, and how that changes over the epochs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn

from viz_callbacks.callbacks.base import PictureCallback, validation_loader
from viz_callbacks.callbacks.picture_folder import Picture, save_whole
from viz_callbacks.drawing import sheets
from viz_callbacks.drawing.pixels import Pixels, signed_picture
from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.methods.top_activations import (
    LoadImages,
    MapTopActivations,
    evenly_spaced,
    keep_strongest,
    most_selective,
    project_top_activations,
)
from viz_callbacks.methods.unit_projection import MEMORY_LIMIT
from viz_callbacks.metrics.top_activations import TopActivationHooks

EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)  # those of Zeiler and Fergus's figure 4


@dataclass(frozen=True)
class ReferenceImages:
    """The images among which the strongest activations are sought, in the order in which a loader gives them.

    Attributes:
        loader: that loader's name where the validation has several, None for the only one.
        names: of the images.
        load: gives images by number, (N, 3, H, W), as the network takes them.
        denormalise: makes uint8 for people of such images, or of pieces of them.
    """

    loader: str | None
    names: Sequence[str]
    load: LoadImages
    denormalise: Callable[[Tensor], Tensor]


class TopActivationPictures(PictureCallback):
    """Per convolution layer: the nine strongest activations of its most selective maps, and the history of other maps.

    They are found while the validation runs. The maps shown are those of the greatest sparseness (``TopActivations``) among the
    half that nine images excite most (``most_selective``). Those may be others at every epoch; the history follows maps evenly
    spaced over all of the layer.

    Args:
        folder: where the pictures go: ``<layer>/epoch-001.jpg`` and ``<layer>/evolution.jpg``.
        reference_images: the images that are watched.
        maps: how many maps of each layer for either; all where it has fewer, 0 for no pictures.
        maps_at_end: how many have their nine strongest shown after a training's last epoch; None for as many as before.
        epochs: those that the history shows besides the last; only where pictures are made, see ``every_n_epochs``.
        memory_limit: bytes for the largest tensors of a batch of projections.
        every_n_epochs: as for ``PeriodicCallback``.
        fixed_scale: as for ``PictureCallback``.
        network: as for ``PeriodicCallback``.
    """

    name = "top_activations"

    def __init__(
        self,
        folder: str | Path,
        reference_images: ReferenceImages,
        *,
        maps: int = 4,
        maps_at_end: int | None = None,
        epochs: Sequence[int] = EPOCHS,
        memory_limit: int = MEMORY_LIMIT,
        every_n_epochs: int = 1,
        fixed_scale: bool = False,
        network: str = "network",
    ) -> None:
        super().__init__(folder, every_n_epochs=every_n_epochs, fixed_scale=fixed_scale, network=network)
        self.reference_images = reference_images
        self.maps = maps
        self.maps_at_end = maps if maps_at_end is None else maps_at_end
        self.epochs = epochs
        self.memory_limit = memory_limit
        self._watching = ExitStack()  # closed when the validation ends, however it ends
        self._hooks: TopActivationHooks | None = None
        self._found: dict[str, dict[str, Tensor]] = {}
        self._images_seen = 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put hooks on the network, where pictures are due."""
        if self.maps > 0 and self.is_due(trainer) and not trainer.sanity_checking:
            network = pl_module.get_submodule(self.network)
            self._hooks = self._watching.enter_context(TopActivationHooks(network, convolution_layers(network)))
            self._images_seen = 0

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Tell the hooks which images come now. Each process sees every so-many-th of them."""
        if self._hooks is None:
            return
        if validation_loader(trainer, dataloader_idx) != self.reference_images.loader:
            self._hooks.set_batch_indices(None)
            return
        indices = torch.arange(self._images_seen, self._images_seen + len(batch[0]))
        self._images_seen += len(batch[0])
        self._hooks.set_batch_indices(indices * trainer.world_size + trainer.global_rank)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the hooks off; bring together what all processes found."""
        if self._hooks is not None:
            found = self._hooks.metrics
            self._remove_hooks()
            self._found = {layer: metric.compute() for layer, metric in found.items()}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the hooks off when a validation is interrupted."""
        self._remove_hooks()

    def make_pictures(self, network: nn.Module, epoch: int, trainer: Trainer | None = None) -> Iterator[Picture]:
        """Yield one picture for each layer, of what the validation before has found."""
        weights = next(network.parameters())

        def load(numbers: Sequence[int]) -> Tensor:
            return self.reference_images.load(numbers).to(weights)  # its device and dtype

        for layer, found in self._found.items():
            count = len(found["values"])
            is_last = trainer is not None and epoch == trainer.max_epochs
            selective = most_selective(found, min(self.maps_at_end if is_last else self.maps, count))
            spaced = evenly_spaced(min(self.maps, count), count)
            nine = list(project_top_activations(network, layer, selective, found, load, self.memory_limit))
            one = list(project_top_activations(network, layer, spaced, keep_strongest(found, 1), load, self.memory_limit))
            yield self._picture(layer, nine, found["sparseness"], one, epoch)

    def on_saved(self, epoch: int) -> None:
        """Draw the history anew from what is on disk, so that it survives an interruption."""
        for layer in self._found:
            self._draw_evolution(layer, epoch)

    def _remove_hooks(self) -> None:
        self._watching.close()
        self._hooks = None

    def _picture(
        self,
        layer: str,
        nine: Sequence[MapTopActivations],
        sparseness: Tensor,
        one: Sequence[MapTopActivations],
        epoch: int,
    ) -> Picture:
        """Draw the nine strongest of some maps; keep the strongest of others for the history."""
        names = self.reference_images.names
        lines = [
            f"Strongest activations of {layer}, epoch {epoch}: the {len(nine)} most selective of {len(sparseness)} maps",
            f"of {len(names)} images, one activation of each, projected one by one, beside their receptive fields",
        ]
        ranges: dict[str, float] = {}
        blocks: list[tuple[str, Pixels, Pixels]] = []
        sprites: dict[str, Pixels] = {}
        for each in nine:
            name, label = f"map-{each.map_index + 1}", f"map {each.map_index + 1}, sparseness {sparseness[each.map_index]:.2f}"
            ranges[name] = self.range(f"{layer}/{each.map_index}", each.projections)
            projections, patches = self._pictures(each, ranges[name])
            blocks.append((label + (" (never positive)" if each.values[0] <= 0 else ""), projections, patches))
            sprites |= {f"{name}-projections": np.hstack(list(projections)), f"{name}-patches": np.hstack(list(patches))}
        for each in one:
            name = f"history-{each.map_index + 1}"
            ranges[name] = self.range(f"{layer}/history/{each.map_index}", each.projections)
            projections, patches = self._pictures(each, ranges[name])
            sprites[name] = np.hstack([projections[0], patches[0]])
        facts = {
            "maps": [
                {
                    "map": each.map_index + 1,
                    "sparseness": round(float(sparseness[each.map_index]), 4),
                    "values": each.values,
                    "images": [names[image] for image in each.images],
                }
                for each in nine
            ],
            "history": [{"map": each.map_index + 1, "value": each.values[0], "image": names[each.images[0]]} for each in one],
        }
        return Picture(layer, sheets.top9_sheet(lines, blocks), "\n".join(lines), sprites, ranges, facts)

    def _pictures(self, found: MapTopActivations, white: float) -> tuple[Pixels, Pixels]:
        """Return the pictures of projections and patches, (K, h, w, 3) each."""
        projections = np.stack([signed_picture(projection, white) for projection in found.projections])
        return projections, self.reference_images.denormalise(found.patches).permute(0, 2, 3, 1).cpu().numpy()

    def _draw_evolution(self, layer: str, last: int) -> None:
        index = self.picture_folder.index()
        rows: dict[int, list[sheets.Cell]] = {}
        for epoch in sorted(int(epoch) for epoch in index if int(epoch) in self.epochs or int(epoch) == last):
            (entry,) = (entry for entry in index[f"{epoch}"] if entry["place"] == layer)
            for facts in entry.get("history", []):  # an older version's has none
                with Image.open(self.folder / entry["sprites"][f"history-{facts['map']}"]) as sprite:
                    projection, patch = np.hsplit(np.asarray(sprite.convert("RGB")), 2)
                name = facts["image"].rsplit(".", 1)[0].replace("image_", "").replace("/", "\n")
                rows.setdefault(facts["map"], []).append((projection, patch, f"epoch {epoch}", name))
        lines = [
            f"{layer}: the projection of each map's strongest activation, over the epochs, above what the image shows there",
            "below: the image's name; another image means another subject, not another filter",
        ]
        sheet = sheets.evolution_sheet(lines, [(f"map {number}", cells) for number, cells in rows.items()])
        save_whole(sheet, self.folder / layer / "evolution.jpg", quality=88, subsampling=0)
