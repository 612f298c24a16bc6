"""Lightning callbacks that look inside a network after each epoch: when to look, at what, and where to put the pictures.

On disk, whatever the logger (``folder`` is given by the user)::

    folder/index.json                              what is there: epochs, probes, layers, files, ranges, map numbers
    folder/<probe>/<layer>/epoch-001.jpg           the sheet that people open, and W&B gets
    folder/<probe>/<layer>/sprites/epoch-001-*.webp   its parts at native size, for pages that are built later
"""

import json
import math
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from torch import Tensor, nn

from viz_callbacks import figures
from viz_callbacks.deconvolution import convolution_layers, deconvolution, feature_maps
from viz_callbacks.denet import denet
from viz_callbacks.figures import Pixels
from viz_callbacks.reverse import Step, record


@dataclass(frozen=True)
class Probes:
    """The fixed images that are looked at.

    names: one for each image, such as ``Faces/image_0001.jpg``. images: (P, 3, H, W) as the network takes them. pictures:
    (P, 3, H, W) uint8 as people see them. targets: (P,) true classes. class_names: of all classes. notes: words about each
    image for the captions, such as the part of the data that it belongs to.
    """

    names: list[str]
    images: Tensor
    pictures: Tensor
    targets: Tensor
    class_names: list[str]
    notes: list[str]

    def folder(self, number: int) -> str:
        """The name of a probe's folder and of its key in W&B: Faces-image_0001."""
        return self.names[number].rsplit(".", 1)[0].replace("/", "-")

    def original(self, number: int) -> Pixels:
        """The image as people see it, (H, W, 3)."""
        pixels: Pixels = self.pictures[number].permute(1, 2, 0).cpu().numpy()
        return pixels


@dataclass(frozen=True)
class Picture:
    """One sheet and what belongs to it.

    place: ``<probe>/<layer>`` or ``<probe>``. sprites: by name, pictures at native size. ranges: by name, what white means.
    facts: further entries of the index.
    """

    place: str
    sheet: Image.Image
    caption: str
    sprites: Mapping[str, Pixels]
    ranges: Mapping[str, float]
    facts: Mapping[str, Any]


class LayerPictures(Callback):
    """Makes pictures of ``probes`` after each epoch, on rank zero only; computes nothing that training could notice.

    Args:
        folder: where the pictures go.
        probes: the images to look at.
        every_n_epochs: how often; the last epoch is always looked at. 0 for never.
        fixed_scale: keep each picture's range as first seen, so that epochs compare by eye.
        network: name of the LightningModule's attribute that holds the network, an ``nn.Sequential``.
    """

    name: str

    def __init__(
        self, folder: Path, probes: Probes, every_n_epochs: int = 1, fixed_scale: bool = False, network: str = "network"
    ) -> None:
        self.folder = folder
        self.probes = probes
        self.every_n_epochs = every_n_epochs
        self.fixed_scale = fixed_scale
        self.network = network
        self.first_ranges: dict[str, float] = {}

    @abstractmethod
    def pictures(self, steps: list[Step], network: nn.Sequential, epoch: int) -> Iterator[Picture]:
        """The pictures of one epoch from the recorded forward pass of all probes."""

    def state_dict(self) -> dict[str, Any]:
        """The ranges that ``fixed_scale`` keeps."""
        return {"first_ranges": self.first_ranges}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with these ranges."""
        self.first_ranges = dict(state_dict["first_ranges"])

    @property
    def state_key(self) -> str:
        """One state for each kind of picture."""
        return self.name

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look, where it is time to."""
        epoch = trainer.current_epoch + 1
        due = self.every_n_epochs > 0 and (epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs)
        if not (due and trainer.is_global_zero):
            return
        started = time.monotonic()
        network = getattr(pl_module, self.network)
        with torch.inference_mode():
            steps = record(network, self.probes.images.to(pl_module.device))
            made = list(self.pictures(steps, network, epoch))
        files = [self._save(picture, epoch) for picture in made]
        self._write_index(made, epoch)
        for logger in trainer.loggers:
            self._send(logger, made, files)
        pl_module.log(f"seconds/{self.name}", time.monotonic() - started, logger=False, rank_zero_only=True)

    def range(self, key: str, values: Tensor) -> float:
        """The range of a picture: of these values or, with ``fixed_scale``, as it was when it was first not empty."""
        now = figures.robust_range(values)
        if not self.fixed_scale:
            return now
        if key not in self.first_ranges and now > 0:
            self.first_ranges[key] = now
        return self.first_ranges.get(key, 0.0)

    def heading(self, steps: list[Step], number: int, epoch: int, what: str) -> list[str]:
        """Two lines for the sheet of a probe: what it shows, and what the network takes the image for."""
        share, predicted = steps[-1].output[number].float().softmax(0).max(0)
        names = self.probes.class_names
        return [
            f"{what}, epoch {epoch}",
            f"{self.probes.names[number]} ({self.probes.notes[number]}): is {names[int(self.probes.targets[number])]}, "
            f"taken for {names[int(predicted)]} with {float(share):.0%}",
        ]

    def _save(self, picture: Picture, epoch: int) -> Path:
        folder = self.folder / picture.place
        (folder / "sprites").mkdir(parents=True, exist_ok=True)
        file = folder / f"epoch-{epoch:03d}.jpg"
        picture.sheet.save(file, quality=88, subsampling=0)
        for name, pixels in picture.sprites.items():
            Image.fromarray(pixels).save(folder / "sprites" / f"epoch-{epoch:03d}-{name}.webp", quality=60, method=2)
        return file

    def _write_index(self, pictures: list[Picture], epoch: int) -> None:
        file = self.folder / "index.json"
        index = json.loads(file.read_text()) if file.exists() else {}
        index[f"{epoch}"] = [
            {
                "place": picture.place,
                "sheet": f"{picture.place}/epoch-{epoch:03d}.jpg",
                "sprites": {name: f"{picture.place}/sprites/epoch-{epoch:03d}-{name}.webp" for name in picture.sprites},
                "caption": picture.caption,
                "ranges": {name: value if math.isfinite(value) else None for name, value in picture.ranges.items()},
                **picture.facts,
            }
            for picture in pictures
        ]
        partial = file.with_name(".index.json.partial")
        partial.write_text(json.dumps(index, indent=1))
        partial.replace(file)

    def _send(self, logger: Any, pictures: list[Picture], files: list[Path]) -> None:
        ranges = {
            f"range/{self.name}/{picture.place}/{name}": value for picture in pictures for name, value in picture.ranges.items()
        }
        if not isinstance(logger, WandbLogger):
            logger.log_metrics(ranges)
            return
        import wandb

        images = {
            f"{self.name}/{picture.place}": wandb.Image(str(file), caption=picture.caption)
            for picture, file in zip(pictures, files, strict=True)
        }
        # Not committed: they join the row of this epoch's metrics, so that the dashboard can step through them by epoch.
        logger.experiment.log({**images, **ranges}, commit=False)


class DeconvolutionPictures(LayerPictures):
    """Per probe and convolution layer: the first ``maps`` feature maps, and all maps projected to the pixels.

    The report's Figures 10 and 11; the method is Zeiler and Fergus 2014, section 2.1.
    """

    name = "deconvolution"

    def __init__(self, folder: Path, probes: Probes, maps: int = 100, **when: Any) -> None:
        super().__init__(folder, probes, **when)
        self.maps = maps

    def pictures(self, steps: list[Step], network: nn.Sequential, epoch: int) -> Iterator[Picture]:
        """One picture for each layer and probe."""
        for layer in convolution_layers(network):
            maps = feature_maps(steps, layer)
            shown = maps[:, : self.maps]
            dead = figures.dead_maps(shown)
            projections = deconvolution(steps, layer)
            for number in range(len(self.probes.names)):
                yield self._picture(steps, layer, number, epoch, maps.shape[1], shown[number], dead, projections[number])

    def _picture(
        self,
        steps: list[Step],
        layer: str,
        number: int,
        epoch: int,
        count: int,
        shown: Tensor,
        dead: list[bool],
        projection: Tensor,
    ) -> Picture:
        place = f"{self.probes.folder(number)}/{layer}"
        ranges = {
            "maps": self.range(f"{place}/maps", shown),
            "projection": self.range(f"{place}/projection", projection),
        }
        pixels = figures.signed_picture(projection, ranges["projection"])
        silent = figures.silent_maps(shown)
        lines = self.heading(steps, number, epoch, f"Deconvolution of {layer}")
        lines += [
            f"maps 1 to {len(shown)} of {count}: grey is 0, white {ranges['maps']:.3g}; "
            f"{sum(dead)} dead (on all probes), {sum(silent) - sum(dead)} silent (on this one)",
            f"projection of all {count} maps: grey is 0, white {ranges['projection']:.3g}, black {-ranges['projection']:.3g}",
        ]
        return Picture(
            place,
            figures.deconvolution_sheet(lines, self.probes.original(number), shown, ranges["maps"], dead, pixels),
            "\n".join(lines),
            {"maps": figures.map_sprite(shown, ranges["maps"]), "projection": pixels},
            ranges,
            {"maps": {"first": 1, "shown": len(shown), "of": count, "columns": 10, "side": shown.shape[-1]},
             "dead": [k + 1 for k, is_dead in enumerate(dead) if is_dead],
             "silent": [k + 1 for k, is_silent in enumerate(silent) if is_silent]},
        )  # fmt: skip


class DeNetPictures(LayerPictures):
    """Per probe: DeNet for the true and for the predicted class, beside Deconvolution of the last convolution layer.

    The report's Figures 12 and 13; the method is its section 7.
    """

    name = "denet"

    def pictures(self, steps: list[Step], network: nn.Sequential, epoch: int) -> Iterator[Picture]:
        """One picture for each probe."""
        last = convolution_layers(network)[-1]
        predicted = steps[-1].output.argmax(1)
        targets = self.probes.targets.to(predicted.device)
        projections = {
            f"Deconvolution of {last}": deconvolution(steps, last),
            "DeNet, true class": denet(steps, targets),
            "DeNet, predicted class": denet(steps, predicted),
        }
        for number in range(len(self.probes.names)):
            place = self.probes.folder(number)
            values = {name: batch[number] for name, batch in projections.items()}
            ranges = {name: self.range(f"{place}/{name}", value) for name, value in values.items()}
            tiles = {name: figures.signed_picture(value, ranges[name]) for name, value in values.items()}
            lines = self.heading(steps, number, epoch, "DeNet beside Deconvolution")
            lines.append("grey is 0, white " + "; ".join(f"{range_:.3g} ({name})" for name, range_ in ranges.items()))
            sheet = figures.row_sheet(lines, [("image", self.probes.original(number)), *tiles.items()])
            sprites = {name.lower().replace(",", "").replace(" ", "-"): tile for name, tile in tiles.items()}
            yield Picture(place, sheet, "\n".join(lines), sprites, ranges, {})
