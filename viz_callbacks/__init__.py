"""What a network sees: Deconvolution and DeNet as plain functions over tensors, and Lightning callbacks that log them."""

from viz_callbacks.callbacks import DeconvolutionPictures, DeNetPictures, Probes

__all__ = ["DeNetPictures", "DeconvolutionPictures", "Probes"]
