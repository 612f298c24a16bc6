"""What was predicted for each image, in the images' order."""

import torch

from lightning_modules.predictions import ImagePredictions


def test_rows_come_in_the_order_of_the_images_whoever_saw_them() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(7, 5), torch.randint(5, (7,))
    found = ImagePredictions()
    for rank in (1, 0):  # two processes, each with every second image
        mine = torch.arange(rank, 7, 2)
        found.update(logits[mine], targets[mine], mine)
    for image, (predicted, confidence, of_truth) in enumerate(found.compute().tolist()):
        shares = [float(value.exp() / logits[image].double().exp().sum()) for value in logits[image].double()]
        assert predicted == shares.index(max(shares))
        assert abs(confidence - max(shares)) < 1e-9
        assert abs(of_truth - shares[int(targets[image])]) < 1e-9
