"""What the network predicts for each single test image, kept so that runs can be compared image by image."""

import torch
from torch import Tensor
from torchmetrics import Metric


class ImagePredictions(Metric):
    """Collects, for each image: the predicted class, its probability, and the probability of the true class.

    ``compute`` returns (N, 3) of float64 in the order of the images, whichever process saw them.
    """

    rows: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor, positions: Tensor) -> None:
        """Add a batch: logits (N, K), classes (N,), and each image's place in the order of the whole part (N,)."""
        probabilities = logits.detach().double().softmax(1)
        confidence, predicted = probabilities.max(1)
        of_truth = probabilities.gather(1, targets.unsqueeze(1)).squeeze(1)
        self.rows.append(torch.stack([positions.to(predicted), predicted, confidence, of_truth], dim=1))

    def compute(self) -> Tensor:
        """Return the rows in the order of the images."""
        rows = torch.cat(self.rows) if isinstance(self.rows, list) else self.rows  # one tensor where processes were joined
        return rows[rows[:, 0].argsort(), 1:]
