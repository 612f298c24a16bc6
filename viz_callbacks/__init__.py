"""What a network sees: Deconvolution, DeNet and more as plain functions over tensors, and Lightning callbacks that log them."""

from viz_callbacks.answer_pictures import InvariancePictures, OcclusionPictures
from viz_callbacks.callbacks import DeconvolutionPictures, DeNetPictures, Probes
from viz_callbacks.filter_pictures import FilterPictures
from viz_callbacks.log_numbers import LogNumbers
from viz_callbacks.strongest_pictures import Gallery, StrongestPictures

__all__ = [
    "DeNetPictures",
    "DeconvolutionPictures",
    "FilterPictures",
    "Gallery",
    "InvariancePictures",
    "LogNumbers",
    "OcclusionPictures",
    "Probes",
    "StrongestPictures",
]
