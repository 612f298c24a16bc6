"""Loss, metrics, optimiser and schedule."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from configs import OptimSettings
from datamodules.datamodule import ImageDataModule
from datamodules.transforms import resize
from lightning_modules.classifier import Classifier, _accuracies, learning_rate_factor
from tests.small_network import small_network


def test_metrics_of_the_test_part_equal_those_counted_by_hand(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer(1, [])
    trainer.fit(classifier, shapes)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    for part in ("val", "test"):
        batches = list(shapes.val_dataloader()[part])
        images, targets = (torch.cat(column) for column in zip(*batches, strict=True))
        with torch.no_grad():
            logits = classifier.network.eval()(shapes.normalise(images))
        ranks = logits.argsort(1, descending=True).numpy()
        hits = ranks[:, 0] == targets.numpy()
        assert found[f"{part}/accuracy"] == pytest.approx(hits.mean())
        assert found[f"{part}/top5"] == pytest.approx((ranks[:, :5] == targets.numpy()[:, None]).any(1).mean())
        assert found[f"{part}/mean_per_class"] == pytest.approx(
            np.mean([hits[targets.numpy() == k].mean() for k in np.unique(targets)])
        )
        assert found[f"{part}/loss"] == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-5)
    assert set(found) - {"gradient_norm"} == {
        f"{part}/{name}" for part in ("train", "val", "test") for name in ("loss", "accuracy", "top5", "mean_per_class")
    }


@pytest.mark.parametrize("crops", [True, False])
def test_the_end_of_a_run_counts_training_images_once_and_test_images_by_ten_crops(
    crops: bool, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    shapes.settings.test_crops = crops
    model = Classifier(small_network(), 8, OptimSettings(), shapes.steps_per_epoch, crop_size=67 if crops else None)
    trainer = make_trainer(2, [])
    trainer.fit(model, shapes)
    trainer.test(model, shapes, verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    confusion = np.zeros((8, 8))
    for part, indices in (("train", shapes.split.train), ("test", shapes.split.test)):
        size = 77 if crops and part == "test" else 67
        images = shapes.normalise(torch.stack([resize(shapes.image_set.images[index], size) for index in indices]))
        places = [(0, 0), (0, 10), (10, 0), (10, 10), (5, 5)] if size == 77 else [(0, 0)]
        views = [images[:, :, top : top + 67, left : left + 67] for top, left in places]
        views += [view.flip(3) for view in views] if size == 77 else []
        with torch.no_grad():
            shares = torch.stack([model.network.eval()(view).softmax(1).double() for view in views]).mean(0)
        predicted, targets = shares.argmax(1).numpy(), shapes.targets[indices]
        assert found[f"final/{part}/accuracy"] == pytest.approx((predicted == targets).mean())
        assert found[f"final/{part}/loss"] == pytest.approx(-float(shares[range(len(targets)), targets].log().mean()), rel=1e-5)
        if part == "test":
            np.add.at(confusion, (targets, predicted), 1)
    np.testing.assert_array_equal(model.confusion_matrix.numpy(), confusion)


@pytest.mark.parametrize("norm", [0.5, 2.0, 1e9])
def test_a_long_gradient_is_scaled_down_and_a_short_one_left_alone(classifier: Classifier, norm: float) -> None:
    gradients = [torch.randn_like(weight) for weight in classifier.network.parameters()]

    def clipped(clip: Callable[[], object]) -> list[Tensor]:
        for weight, gradient in zip(classifier.network.parameters(), gradients, strict=True):
            weight.grad = gradient.clone()
        clip()
        return [weight.grad for weight in classifier.network.parameters() if weight.grad is not None]

    optimizer = torch.optim.SGD(classifier.network.parameters())
    ours = clipped(lambda: classifier.configure_gradient_clipping(optimizer, norm))
    expected = clipped(lambda: torch.nn.utils.clip_grad_norm_(classifier.network.parameters(), norm))
    assert len(ours) == len(gradients)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, expected, strict=True))


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_mean_norm_of_the_gradients_before_clipping_is_a_figure_of_each_epoch(
    clip: float | None, classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    norms = list[float]()

    class Norms(Callback):
        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            squares = [(weight.grad.double() ** 2).sum() for weight in pl_module.parameters() if weight.grad is not None]
            norms.append(float(torch.stack(squares).sum().sqrt()))

    trainer = make_trainer(1, [Norms()], gradient_clip_val=clip)
    trainer.fit(classifier, shapes)
    assert len(norms) > 1
    assert float(trainer.callback_metrics["gradient_norm"]) == pytest.approx(sum(norms) / len(norms), rel=1e-5)


def test_bfloat16_takes_the_same_way_with_weights_in_float32_and_a_fused_optimiser(
    shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    ends = []
    for precision in ("32-true", "bf16-mixed"):
        model = Classifier(small_network(), 8, OptimSettings(name="sgd", lr=0.02, warmup_epochs=0), shapes.steps_per_epoch)
        trainer = make_trainer(6, [], precision=precision, gradient_clip_val=1.0)
        trainer.fit(model, shapes)
        assert trainer.optimizers[0].defaults["fused"]
        ends.append(torch.nn.utils.parameters_to_vector(model.network.parameters()).detach())
    begin = torch.nn.utils.parameters_to_vector(small_network().parameters()).detach()
    assert ends[0].dtype == ends[1].dtype == torch.float32
    assert not torch.equal(ends[0], ends[1])
    assert F.cosine_similarity(ends[0] - begin, ends[1] - begin, dim=0) > 0.95


def test_mixed_targets_give_the_mixed_loss_and_count_by_the_larger_share(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, measured = torch.randn(4, 3, 67, 67), list[tuple[Tensor, Tensor]]()
    targets = torch.zeros(4, 8)
    targets[range(4), [0, 1, 2, 3]], targets[range(4), [4, 5, 6, 7]] = 0.7, 0.3
    classifier.network.eval()
    monkeypatch.setattr(classifier, "_measure", lambda part, logits, counted: measured.append((logits, counted)))
    loss = classifier.training_step((images, targets), 0).detach()
    ((found, counted),) = measured
    parts = [F.cross_entropy(found, torch.arange(4) + shift, label_smoothing=0.1) for shift in (0, 4)]
    assert float(loss) == pytest.approx(0.7 * float(parts[0]) + 0.3 * float(parts[1]), rel=1e-5)
    assert counted.tolist() == [0, 1, 2, 3]


def test_a_first_batch_without_a_mistake_does_not_make_two_metrics_one() -> None:
    accuracies = _accuracies(10, "val/")
    logits = torch.eye(10)[:4] + 0.1 * torch.eye(10)[1:5]  # the first choice is the class itself, the second the next one
    accuracies.update(logits, torch.arange(4))
    accuracies.update(logits, torch.arange(1, 5))
    found = {name: float(value) for name, value in accuracies.compute().items()}
    assert found == {"val/accuracy": 0.5, "val/top5": 1.0, "val/mean_per_class": (1 + 1 / 2 + 1 / 2 + 1 / 2 + 0) / 5}


def test_the_rate_rises_in_a_line_and_falls_by_half_a_cosine() -> None:
    rates = [learning_rate_factor(step, 10, 110, "cosine") for step in range(111)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rates[10] == 1
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0)
    assert rates[35] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert [learning_rate_factor(step, 0, 9, "constant") for step in (0, 5, 9)] == [1, 1, 1]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weights_decay_but_biases_dont(name: str, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]) -> None:
    optim = OptimSettings(name=name, weight_decay=0.125, filter_rate=0.0)
    model = Classifier(small_network(), 8, optim, shapes.steps_per_epoch)
    trainer = make_trainer(1, [])
    trainer.fit(model, shapes)
    decayed, others = trainer.optimizers[0].param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.125, 0)
    assert {parameter.ndim for parameter in decayed["params"]} == {2, 4}
    assert {parameter.ndim for parameter in others["params"]} == {1}
    assert type(trainer.optimizers[0]).__name__.lower() == name
    if name == "sgd":
        assert decayed["nesterov"]


def test_the_rate_reaches_zero_at_the_end(
    classifier: Classifier, shapes: ImageDataModule, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer(3, [])
    trainer.fit(classifier, shapes)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    assert trainer.global_step == 3 * classifier.steps_per_epoch == 3 * shapes.steps_per_epoch
