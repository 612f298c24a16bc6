"""ZFNet (Zeiler and Fergus 2014, Figure 3): AlexNet with smaller filters and strides in the first two layers."""

from collections import OrderedDict

from torch import nn

from lightning_modules.networks.layers import activation as act
from lightning_modules.networks.layers import adaptive_pool, classifier_head, initialise, norm, pool


def zfnet(
    num_classes: int,
    activation: str = "relu",
    pooling: str = "max",
    normalisation: str = "lrn",
    dropout: float = 0.5,
) -> nn.Sequential:
    """Build the network as a list of named layers, with random weights.

    Shapes: images (N, 3, 224, 224) to logits (N, num_classes); the numbers at the right are the sides of the maps. The
    first two pools let their last window hang over the edge (ceil_mode), without which 110 would not become 55.
    """
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 96, kernel_size=7, stride=2, padding=1),  # 110
        act1=act(activation),
        pool1=pool(pooling, ceil_mode=True),  # 55
        norm1=norm(normalisation, 96),
        conv2=nn.Conv2d(96, 256, kernel_size=5, stride=2),  # 26
        act2=act(activation),
        pool2=pool(pooling, ceil_mode=True),  # 13
        norm2=norm(normalisation, 256),
        conv3=nn.Conv2d(256, 384, kernel_size=3, padding=1),  # 13
        act3=act(activation),
        conv4=nn.Conv2d(384, 384, kernel_size=3, padding=1),  # 13
        act4=act(activation),
        conv5=nn.Conv2d(384, 256, kernel_size=3, padding=1),  # 13
        act5=act(activation),
        pool5=adaptive_pool(pooling),  # 6
        **classifier_head(num_classes, activation, dropout),
    )
    network = nn.Sequential(layers)
    initialise(network, activation)
    return network
