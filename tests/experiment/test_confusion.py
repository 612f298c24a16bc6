"""The confusion matrix as files."""

from pathlib import Path

import torch
from PIL import Image

from experiment.confusion import save_confusion


def test_mistakes_come_first_the_most_frequent_on_top(tmp_path: Path) -> None:
    save_confusion(torch.tensor([[5, 1, 0], [3, 2, 0], [0, 0, 0]]), ["a", "b", "c"], tmp_path, "t")
    lines = (tmp_path / "confusion.csv").read_text().splitlines()
    assert lines == ["true,predicted,images", "b,a,3", "a,b,1", "a,a,5", "b,b,2"]
    assert Image.open(tmp_path / "confusion.png").width > 300
