"""Which images are measured on, maps that show nothing, and that a stronger grid gives a larger number."""

import torch
from torch import nn

from configs import DataSettings
from datamodules.datamodule import ImageDataModule
from datamodules.registry import build_datamodule
from tests.small_network import small_network
from tools.measure import count_dead_maps, find_unseen, measure_photographs


def test_images_are_those_that_no_run_was_trained_on() -> None:
    runs = []
    for seed in (1, 2):
        settings = DataSettings(name="shapes", images_per_class=10, batch_size=8, test_fraction=0.5, seed=seed)
        data = build_datamodule(settings, 67, seed=1)
        data.prepare_data()
        data.setup("fit")
        runs.append(data)
    files = find_unseen(runs, per_class=2)
    assert len(files) > 8
    for data in runs:
        assert not {data.files[i] for part in (data.split.train, data.split.val) for i in part} & set(files)
        assert [data.files[i] for i in data.find(files)] == files
    classes = [file.split("/")[0] for file in files]
    assert max(classes.count(name) for name in classes) <= 2


def test_a_stronger_grid_on_photographs_gives_a_larger_number() -> None:
    torch.manual_seed(0)
    found = measure_photographs(torch.randint(0, 200, (4, 3, 128, 128), dtype=torch.uint8))
    for by_strength in found.values():
        means = [float(values.log().mean()) for values in by_strength.values()]
        assert means == sorted(means)
        assert abs(means[0]) < 0.5 < means[-1]


def test_maps_that_no_image_lights_are_counted(shapes: ImageDataModule) -> None:
    network = small_network().eval()
    convolutions = {name: layer for name, layer in network.named_children() if isinstance(layer, nn.Conv2d)}
    for layer in convolutions.values():
        nn.init.constant_(layer.get_parameter("bias"), 10)  # or some map might be dead by chance
        nn.init.zeros_(layer.weight[1:3])  # the same everywhere
    expected = {name: (2, layer.out_channels) for name, layer in convolutions.items()}
    assert count_dead_maps(network, shapes) == expected
