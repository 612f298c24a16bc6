"""AlexNet (Krizhevsky, Sutskever and Hinton 2012) in one stream, as the report's section 3 lists it; and torchvision's."""

from collections import OrderedDict

from torch import nn

from lightning_modules.networks.layers import activation as act
from lightning_modules.networks.layers import adaptive_pool, classifier_head, initialise, norm, pool


def alexnet(
    num_classes: int,
    activation: str = "relu",
    pooling: str = "max",
    normalisation: str = "lrn",
    dropout: float = 0.5,
    streams: int = 1,
    conv1_size: int = 11,
    conv1_stride: int = 4,
) -> nn.Sequential:
    """Build the network as a list of named layers, with random weights.

    Shapes: images (N, 3, 227, 227) to logits (N, num_classes); the numbers at the right are the sides of the maps.
    ``streams=2`` is the original: conv2, conv4 and conv5 see only the maps of their own half. With ``conv1_size=7`` and then
    ``conv1_stride=2`` it takes two of the three steps to ZFNet, whose third is conv2's stride of 2.
    """
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 96, kernel_size=conv1_size, stride=conv1_stride),  # 55
        act1=act(activation),
        pool1=pool(pooling),  # 27
        norm1=norm(normalisation, 96),
        conv2=nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=streams),  # 27
        act2=act(activation),
        pool2=pool(pooling),  # 13
        norm2=norm(normalisation, 256),
        conv3=nn.Conv2d(256, 384, kernel_size=3, padding=1),  # 13
        act3=act(activation),
        conv4=nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=streams),  # 13
        act4=act(activation),
        conv5=nn.Conv2d(384, 256, kernel_size=3, padding=1, groups=streams),  # 13
        act5=act(activation),
        pool5=adaptive_pool(pooling),  # 6
        **classifier_head(num_classes, activation, dropout),
    )
    network = nn.Sequential(layers)
    initialise(network, activation)
    return network


def alexnet_torchvision(
    num_classes: int,
    activation: str = "relu",
    pooling: str = "max",
    normalisation: str = "none",
    dropout: float = 0.5,
) -> nn.Sequential:
    """Build AlexNet with the widths that torchvision has weights for, as a list of named layers, with random weights.

    They are those of the single column in Krizhevsky, One weird trick for parallelizing convolutional neural networks (2014,
    arXiv 1404.5997). Shapes: images (N, 3, 224, 224) to logits (N, num_classes); the numbers at the right are the sides of the
    maps.
    """
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),  # 55
        act1=act(activation),
        pool1=pool(pooling),  # 27
        norm1=norm(normalisation, 64),
        conv2=nn.Conv2d(64, 192, kernel_size=5, padding=2),  # 27
        act2=act(activation),
        pool2=pool(pooling),  # 13
        norm2=norm(normalisation, 192),
        conv3=nn.Conv2d(192, 384, kernel_size=3, padding=1),  # 13
        act3=act(activation),
        conv4=nn.Conv2d(384, 256, kernel_size=3, padding=1),  # 13
        act4=act(activation),
        conv5=nn.Conv2d(256, 256, kernel_size=3, padding=1),  # 13
        act5=act(activation),
        pool5=adaptive_pool(pooling),  # 6
        **classifier_head(num_classes, activation, dropout),
    )
    network = nn.Sequential(layers)
    initialise(network, activation)
    return network
