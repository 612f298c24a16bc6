"""Which images are measured on, and that a stronger grid gives a larger number."""

import torch

from configs import DataSettings
from datamodules.registry import build_datamodule
from tools.measure import find_unseen, measure_photographs


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
