"""What W&B gets of a tested run, against the same taken one image at a time."""

import numpy as np
import pytest
import torch

from datamodules.datamodule import ImageDataModule
from experiment.wandb_results import GAP, PAIRS, choose, class_accuracies, confused_pairs, look_at_test_images, side_by_side
from tests.small_network import small_network
from viz_callbacks.drawing.pixels import robust_range, signed_picture
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet


def test_classes_and_pairs_are_counted_as_image_by_image() -> None:
    rng = np.random.default_rng(0)
    names = [f"class {number}" for number in range(20)]
    truth = rng.integers(0, 19, 500)  # the last class has no image
    predicted = np.where(rng.random(500) < 0.5, truth, rng.integers(0, 20, 500))
    matrix = torch.zeros(20, 20, dtype=torch.int64)
    for true, other in zip(truth, predicted, strict=True):
        matrix[true, other] += 1
    found = class_accuracies(matrix, names)
    assert dict(found) == {names[k]: pytest.approx((predicted[truth == k] == k).mean()) for k in range(19)}
    assert [accuracy for _, accuracy in found] == sorted(accuracy for _, accuracy in found)
    pairs = confused_pairs(matrix, names)
    counts = [count for _, _, count in pairs]
    assert len(pairs) == PAIRS
    assert counts == sorted(counts, reverse=True)
    for true, other, count in pairs:
        assert true != other
        assert count == ((truth == names.index(true)) & (predicted == names.index(other))).sum()
    left_out = [int(matrix[i, j]) for i in range(20) for j in range(20) if i != j]
    assert sum(counts) == sum(sorted(left_out)[-PAIRS:]), "the most frequent ones"


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_surest_mistakes_come_first_then_some_of_the_rest(share: float) -> None:
    rng = np.random.default_rng(1)
    wrong, confidence = rng.random(100) < share, rng.random(100)
    rows = choose(wrong, confidence, mistakes=10, others=7)
    assert len(set(rows)) == len(rows) == min(10, wrong.sum()) + min(7, (~wrong).sum())
    mistakes = [row for row in rows if wrong[row]]
    assert rows[: len(mistakes)] == mistakes
    assert list(confidence[mistakes]) == sorted(confidence[wrong], reverse=True)[:10]


def test_each_image_has_its_own_projections_for_the_class_that_was_predicted(shapes: ImageDataModule) -> None:
    network = small_network()
    rng = np.random.default_rng(2)
    count = len(shapes.split.test)
    predictions = torch.tensor(
        [[rng.integers(0, 8), confidence, 0.1] for confidence in rng.random(count).round(3)], dtype=torch.float64
    )
    found, layer = look_at_test_images(network, shapes, predictions, mistakes=9, others=2)  # more than one batch
    assert layer == "conv2"
    numbers = {shapes.files[number]: row for row, number in enumerate(shapes.split.test)}
    assert 9 < len(found) == len({each.file for each in found}) <= 11
    for each in found:
        row = numbers[each.file]
        number, predicted = int(shapes.split.test[row]), int(predictions[row, 0])
        assert each.truth == shapes.class_names[shapes.targets[number]]
        assert each.prediction == shapes.class_names[predicted]
        assert each.probability == pytest.approx(float(predictions[row, 1]))
        image = shapes.images([number])
        np.testing.assert_array_equal(each.image, image[0].permute(1, 2, 0).numpy())
        traces = record(network, shapes.normalise(image))
        for pixels, projection in (
            (each.deconvolution, deconvolution(traces, "conv2")[0]),
            (each.denet, denet(traces, torch.tensor([predicted]))[0]),
        ):
            expected = signed_picture(projection, robust_range(projection))
            difference = np.abs(pixels.astype(int) - expected.astype(int))
            assert difference.max() <= 1, "up to the rounding of a batch"
            assert expected.std() > 5
        strip, (height, width, _) = side_by_side(each), each.image.shape
        assert strip.shape == (height, 3 * width + 2 * GAP, 3)
        for position, pixels in enumerate((each.image, each.deconvolution, each.denet)):
            left = position * (width + GAP)
            np.testing.assert_array_equal(strip[:, left : left + width], pixels)
