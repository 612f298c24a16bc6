"""What was predicted for each test image, as ``predictions.csv``, and small pictures of those that were wrong.

With these two, runs on the same test images can be compared image by image where the data set is not at hand.
"""

import csv
import io
from pathlib import Path

from PIL import Image
from torch import Tensor

from configs.files import atomic_write_text
from datamodules.datamodule import ImageDataModule

COLUMNS = ("file", "group", "true", "predicted", "confidence", "probability_of_true")
THUMBNAIL = 96


def save_predictions(predictions: Tensor, data: ImageDataModule, folder: Path) -> None:
    """Write ``predictions.csv`` into ``folder``, a row for each test image, and ``mistakes/ROW.webp`` (rows from 1).

    Args:
        predictions: (N, 3): predicted class, its probability, probability of the true class, in the order of the test part.
        data: knows the images. Those of one ``group`` show the same thing.
        folder: of the run.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    (folder / "mistakes").mkdir(exist_ok=True)
    rows = zip(data.split.test.tolist(), predictions.tolist(), strict=True)
    for row, (image, (predicted, confidence, of_truth)) in enumerate(rows, start=1):
        true, predicted_name = data.class_names[data.targets[image]], data.class_names[int(predicted)]
        group = data.files[int(data.image_set.groups[image])]
        writer.writerow((data.files[image], group, true, predicted_name, f"{confidence:.4g}", f"{of_truth:.4g}"))
        if predicted_name != true:
            thumbnail = Image.fromarray(data.images([image])[0].permute(1, 2, 0).numpy())
            thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
            thumbnail.save(folder / f"mistakes/{row:05d}.webp", quality=75)
    atomic_write_text(folder / "predictions.csv", text.getvalue())
