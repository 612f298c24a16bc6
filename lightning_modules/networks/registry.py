"""The networks by name."""

from torch import nn

from configs import ModelSettings
from lightning_modules.networks.alexnet import alexnet, alexnet_torchvision
from lightning_modules.networks.zfnet import zfnet

IMAGE_SIZES = {"alexnet": 227, "zfnet": 224, "alexnet-torchvision": 224}
"""Side of the square images that each architecture was made for, in pixels."""


def build_network(model: ModelSettings, num_classes: int) -> nn.Sequential:
    """Build a network with random weights as the settings say: images (N, 3, H, W) to logits (N, num_classes)."""
    if model.name == "zfnet":
        return zfnet(num_classes, model.activation, model.pooling, model.norm, model.dropout)
    if model.name == "alexnet-torchvision":
        return alexnet_torchvision(num_classes, model.activation, model.pooling, model.norm, model.dropout)
    sizes = (model.conv1_size, model.conv1_stride)
    return alexnet(num_classes, model.activation, model.pooling, model.norm, model.dropout, model.streams, *sizes)
