"""The networks and how they learn."""

from lightning_modules.checkpoints import load_network
from lightning_modules.classifier import Classifier
from lightning_modules.networks import build_network

__all__ = ["Classifier", "build_network", "load_network"]
