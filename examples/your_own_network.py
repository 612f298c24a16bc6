"""Look inside a network that this project doesn't know: torchvision's ResNet-18, trained on ImageNet. Writes four pictures.

    python examples/your_own_network.py --photo photograph.jpg

Without ``--photo`` it draws a picture of its own. With ``--untrained`` the weights are random, without a download: the pictures
then show what the architecture alone does to an image.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torchvision.models import resnet18

from viz_callbacks import Lens


def draw_disc() -> Image.Image:
    """Draw a yellow disc with a dark square on it, on a blue ground."""
    image = Image.new("RGB", (224, 224), (40, 70, 140))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 40, 184, 184), fill=(230, 190, 60))
    draw.rectangle((90, 90, 134, 134), fill=(60, 30, 30))
    return image


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--photo", type=Path, help="a photograph [default: a drawn disc]")
parser.add_argument("--untrained", action="store_true", help="random weights, without a download")
options = parser.parse_args()
torch.manual_seed(0)
network = resnet18(weights=None if options.untrained else "DEFAULT")
photo = options.photo or draw_disc()

lens = Lens(network)  # finds its layers, the size of its images and their normalisation
seen = lens(photo)  # a file, a Pillow image, an array, a tensor, or several of them
print(seen)  # the most probable classes
seen.save("inside.png")  # all layers at one glance, then DeNet
seen.deconvolution("layer3.0.conv1").save("layer.png")
seen.top_maps("layer2.0.conv1", 9).save("maps.png")  # what excites single maps
seen.denet("tabby").save("tabby.png")
