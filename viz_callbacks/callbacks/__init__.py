"""What a network sees: Deconvolution, DeNet and more as plain functions over tensors, and Lightning callbacks that log them."""

from viz_callbacks.callbacks.deconvolution import DeconvolutionPictures
from viz_callbacks.callbacks.denet import DeNetPictures
from viz_callbacks.callbacks.filters import FilterPictures
from viz_callbacks.callbacks.probes import Probes
from viz_callbacks.callbacks.projection_metrics import ProjectionMetricsLogger
from viz_callbacks.callbacks.sensitivity import InvariancePictures, OcclusionPictures
from viz_callbacks.callbacks.top_activations import ReferenceImages, TopActivationPictures

__all__ = [
    "DeNetPictures",
    "DeconvolutionPictures",
    "FilterPictures",
    "InvariancePictures",
    "OcclusionPictures",
    "Probes",
    "ProjectionMetricsLogger",
    "ReferenceImages",
    "TopActivationPictures",
]
