"""The confusion matrix as files."""

from pathlib import Path

import torch
from PIL import Image

from experiment.confusion import save_confusion
from experiment.curves import save_curves


def test_mistakes_come_first_the_most_frequent_on_top(tmp_path: Path) -> None:
    save_confusion(torch.tensor([[5, 1, 0], [3, 2, 0], [0, 0, 0]]), ["a", "b", "c"], tmp_path, "t")
    lines = (tmp_path / "confusion.csv").read_text().splitlines()
    assert lines == ["true,predicted,images", "b,a,3", "a,b,1", "a,a,5", "b,b,2"]
    assert Image.open(tmp_path / "confusion.png").width > 300


def test_folders_of_any_name_can_be_classes(tmp_path: Path) -> None:
    """Two dollar signs would begin and end a formula, which these are not."""
    names = ["$_a_$", "$\\frac$", "50 %"]
    save_confusion(torch.ones(3, 3), names, tmp_path, "AlexNet on $^photos$")
    save_curves([{"epoch": 1, "train/loss": 1.0, "train/accuracy": 0.5}], tmp_path / "curves.png", "AlexNet on $^photos$")
    for file in ("confusion.png", "curves.png"):
        assert Image.open(tmp_path / file).width > 300
