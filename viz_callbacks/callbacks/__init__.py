"""Lightning callbacks: when to look at a network, at which images, and where the pictures go. They compute nothing themselves.

``Probes`` are a few images that are looked at again and again. Each callback works by itself; together they share the forward
pass of the probes, so give all of them the same ``Probes``::

    Trainer(callbacks=[DeconvolutionPictures("pictures/deconvolution", probes), DeNetPictures("pictures/denet", probes)])

A trained network needs no Trainer:

>>> import tempfile, torch
>>> from torch import nn
>>> network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 10 * 10, 3))
>>> photographs = torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8)
>>> probes = Probes(
...     names=["cat.jpg", "dog.jpg"],
...     images=photographs / 255 - 0.5,
...     pictures=photographs,
...     targets=torch.tensor([0, 2]),
...     class_names=["cat", "cow", "dog"],
...     notes=["test", "test"],
... )
>>> with tempfile.TemporaryDirectory() as folder:
...     for picture, file in DeNetPictures(folder, probes).render(network, epoch=1):
...         print(file.relative_to(folder), sorted(picture.sprites))
cat/epoch-001.jpg ['deconvolution-of-0', 'denet-predicted-class', 'denet-true-class', 'denet-true-class-no-biases']
dog/epoch-001.jpg ['deconvolution-of-0', 'denet-predicted-class', 'denet-true-class', 'denet-true-class-no-biases']
"""

from viz_callbacks.callbacks.dead_maps import DeadMapsLogger
from viz_callbacks.callbacks.deconvolution import DeconvolutionPictures
from viz_callbacks.callbacks.denet import DeNetPictures
from viz_callbacks.callbacks.filter_metrics import FilterMetricsLogger
from viz_callbacks.callbacks.filters import FilterPictures
from viz_callbacks.callbacks.look_inside import LookInside
from viz_callbacks.callbacks.overview import OverviewPictures
from viz_callbacks.callbacks.probes import Probes
from viz_callbacks.callbacks.projection_metrics import ProjectionMetricsLogger
from viz_callbacks.callbacks.sensitivity import InvariancePictures, OcclusionPictures
from viz_callbacks.callbacks.top_activations import ReferenceImages, TopActivationPictures

__all__ = [
    "DeNetPictures",
    "DeadMapsLogger",
    "DeconvolutionPictures",
    "FilterMetricsLogger",
    "FilterPictures",
    "InvariancePictures",
    "LookInside",
    "OcclusionPictures",
    "OverviewPictures",
    "Probes",
    "ProjectionMetricsLogger",
    "ReferenceImages",
    "TopActivationPictures",
]
