"""The predictions of a run as files."""

import csv
from pathlib import Path

import torch
from PIL import Image

from datamodules.datamodule import ImageDataModule
from experiment.predictions import save_predictions


def test_each_test_image_has_a_row_and_each_wrong_one_a_picture(shapes: ImageDataModule, tmp_path: Path) -> None:
    test = shapes.split.test
    predictions = torch.tensor([[float(shapes.targets[image]), 0.75, 0.75] for image in test], dtype=torch.float64)
    predictions[2] = torch.tensor([(predictions[2, 0] + 1) % 8, 0.5, 0.25])
    save_predictions(predictions, shapes, tmp_path)
    with (tmp_path / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [shapes.files[image] for image in test]
    assert [number for number, row in enumerate(rows) if row["true"] != row["predicted"]] == [2]
    assert (rows[2]["confidence"], rows[2]["probability_of_true"]) == ("0.5", "0.25")
    (picture,) = (tmp_path / "mistakes").iterdir()
    assert picture.name == "00003.webp"
    shown = torch.frombuffer(bytearray(Image.open(picture).convert("RGB").tobytes()), dtype=torch.uint8).view(67, 67, 3)
    wrong = shapes.images([int(test[2])])[0].permute(1, 2, 0)
    assert (shown.float() - wrong.float()).abs().mean() < 8, "as it was, but for the compression"
