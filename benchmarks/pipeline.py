"""The input pipeline alone, against the usual one of torchvision and against what a training step takes in."""

from collections.abc import Callable

import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.steps import BATCH, CLASSES, batch, our_step
from benchmarks.timing import Row, in_turns, rates
from configs import DataSettings, ModelSettings
from datamodules.caltech101.datamodule import Caltech101
from datamodules.datamodule import MEAN, STD
from datamodules.datasets import TrainingImages
from experiment.hardware import configure_malloc
from lightning_modules.networks.registry import build_network

SIZE = 227


def input_pipeline(repeats: int) -> list[Row]:
    """Measure augmented, normalised batches from the cache, from JPEG files as ImageFolder does it, and training steps."""
    configure_malloc()
    settings = DataSettings()
    data = Caltech101(settings, SIZE, seed=1)
    data.prepare_data()
    data.setup("fit")
    indices = [int(index) for index in data.split.train[:: len(data.split.train) // BATCH][:BATCH]]
    ours = TrainingImages(data.image_set, [SIZE], 1, settings, seed=1)
    transforms = v2.Compose([
        v2.RandomResizedCrop(SIZE, scale=(settings.crop_area, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(settings.jitter, settings.jitter, settings.jitter),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ])  # fmt: skip
    folder = ImageFolder(str(data.folder()), transforms)
    number_of = {file: number for number, (file, _) in enumerate(folder.samples)}
    numbers = [number_of[str(data.folder() / data.files[index])] for index in indices]

    def our_batch() -> object:
        images, _ = ours.__getitems__([(0, index) for index in indices])
        return data.normalise(images)

    def their_batch() -> object:
        return torch.stack([folder[number][0] for number in numbers])

    def steps(precision: str) -> Callable[[], object]:
        network = build_network(ModelSettings(), CLASSES).to(memory_format=torch.channels_last)
        return our_step(network, *batch(SIZE), precision)

    our, their, step, half_step = in_turns([our_batch, their_batch, steps("32-true"), steps("bf16-mixed")], repeats)
    title = f"input pipeline, {SIZE} px, one process"
    return [
        rates(f"{title}: against ImageFolder", our, their, BATCH, "images/s", "times as fast"),
        rates(f"{title}: against AlexNet's step", our, step, BATCH, "images/s", "times as fast as the step"),
        rates(f"{title}: against its step in bf16-mixed", our, half_step, BATCH, "images/s", "times as fast as the step"),
    ]
