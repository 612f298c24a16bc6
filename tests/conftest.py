"""What the tests of several packages share: a small network, a small data set, and a Trainer that leaves nothing behind."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

from configs import DataSettings, OptimSettings
from datamodules.datamodule import ImageDataModule
from datamodules.registry import build_datamodule
from lightning_modules.classifier import Classifier
from tests.small_network import small_network


def pytest_configure() -> None:
    """Give each of several test processes, and the trainings that it starts, its share of the cores."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        share = max(1, torch.get_num_threads() // processes)
        torch.set_num_threads(share)
        os.environ["OMP_NUM_THREADS"] = str(share)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What reads the real Caltech-101 is slow, as it has to be unpacked and decoded first; what is slow may take 15 minutes.

    The longest modules, those of faults, come first, so that several processes end at about the same time.
    """
    items.sort(key=lambda item: "faults" not in item.path.parts)
    for item in items:
        if "real_settings" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture
def shapes() -> ImageDataModule:
    """The generated data set, 8 classes of 10 images, batches of 16, 67 pixels."""
    settings = DataSettings(
        name="shapes", images_per_class=10, batch_size=16, train_sizes=[], cutmix=0.0, val_fraction=0.25, workers=0
    )
    data = build_datamodule(settings, 67, seed=1)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture(scope="session")
def real_settings(pytestconfig: pytest.Config) -> DataSettings:
    """Settings that reach the real Caltech-101, unpacked and decoded once and kept in pytest's cache folder."""
    root, archives = os.environ.get("CALTECH101_ROOT"), os.environ.get("CALTECH101_ARCHIVES")
    if root is None and archives is None:
        reason = "Caltech-101 is nowhere: set CALTECH101_ROOT or CALTECH101_ARCHIVES"
        # Somebody without the data set can run the other tests; CI must not pass without these.
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    kept = pytestconfig.cache.mkdir("caltech101")
    return DataSettings(root=root or str(kept), archives=archives, cache_dir=str(kept))


@pytest.fixture
def classifier() -> Classifier:
    """The small network with quick settings."""
    return Classifier(small_network(), 8, OptimSettings(name="sgd", lr=0.01, warmup_epochs=0.5), steps_per_epoch=3, seed=1)


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """A Trainer for so many epochs with these callbacks, on the CPU, without anything that prints."""

    def make(max_epochs: int, callbacks: list[Callback], **others: Any) -> Trainer:
        settings: dict[str, Any] = {
            "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
            "enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False,
            "default_root_dir": tmp_path,
        }  # fmt: skip
        return Trainer(max_epochs=max_epochs, callbacks=callbacks, **(settings | others))

    return make
