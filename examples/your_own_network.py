"""Look inside a network that this project doesn't know: torchvision's AlexNet, trained on ImageNet. Writes ``inside.png``.

    python examples/your_own_network.py --image photograph.jpg

Without ``--image`` it draws a picture of its own. With ``--untrained``, or where the weights can't be downloaded, they are
random: the picture then shows what the architecture alone does to an image.
"""

import argparse
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision.transforms.v2 as transforms
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.models import alexnet

from viz_callbacks.drawing.pixels import robust_range, signed_picture
from viz_callbacks.drawing.sheets import row_sheet
from viz_callbacks.engine.feature_maps import convolution_layers
from viz_callbacks.engine.forward import record
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet

SIDE = 224  # pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which torchvision's networks were trained on


def load_network(trained: bool) -> nn.Module:
    """Return torchvision's AlexNet, with random weights where those of ImageNet aren't wanted or can't be downloaded."""
    torch.manual_seed(0)
    network: nn.Module = alexnet()
    if trained:
        try:
            network = alexnet(weights="DEFAULT")
        except URLError as problem:
            print(f"The weights can't be downloaded ({problem.reason}): they are random instead")
    return network


def load_images(file: Path | None) -> Tensor:
    """Return the image in ``file``, or a drawn one, as the network takes it: (1, 3, 224, 224), normalised."""
    to_tensor = transforms.Compose(
        [
            transforms.Resize((SIDE, SIDE)),
            transforms.ToImage(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize(MEAN, STD),
        ]
    )
    image = draw_image() if file is None else Image.open(file).convert("RGB")
    batch: Tensor = to_tensor(image)[None]
    return batch


def draw_image() -> Image.Image:
    """Draw a yellow disc with a dark square on it, on a blue ground."""
    image = Image.new("RGB", (SIDE, SIDE), (40, 70, 140))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 40, 184, 184), fill=(230, 190, 60))
    draw.rectangle((90, 90, 134, 134), fill=(60, 30, 30))
    return image


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--image", type=Path, help="a photograph [default: a drawn disc]")
parser.add_argument("--untrained", action="store_true", help="random weights, without a download")
options = parser.parse_args()
network = load_network(trained=not options.untrained)
images = load_images(options.image)

traces = record(network, images)  # one forward pass; images (N, 3, H, W)
layers = convolution_layers(network)  # ["features.0", "features.3", ...]
pictures = {layer: deconvolution(traces, layer) for layer in layers}
pictures["DeNet"] = denet(traces, traces[-1].output.argmax(1))  # of the predicted class
tiles = [(name, signed_picture(p[0], robust_range(p[0]))) for name, p in pictures.items()]
row_sheet(["Deconvolution of each layer, then DeNet"], tiles).save("inside.png")
