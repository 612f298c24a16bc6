"""The masks of the objects in Caltech-101, drawn from polygons at the size in which the network sees the images.

An image's ``Annotations/<class>/annotation_NNNN.mat`` holds the object's box, ``box_coord`` = [top, bottom, left, right], and
the polygon around it, ``obj_contour`` (2, K), x above y, counted from the box's top left corner; both in pixels of the
original file, counted from 1.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from configs import SettingsError

ANNOTATION_FOLDERS = {
    "Faces": "Faces_2",
    "Faces_easy": "Faces_3",
    "Motorbikes": "Motorbikes_16",
    "airplanes": "Airplanes_Side_2",
}
"""Where the annotations of a class lie in a folder of another name."""

BAD_ANNOTATIONS = frozenset({
    "airplanes/image_0118.jpg",  # a box without height
    "airplanes/image_0202.jpg",  # polygon and box have nothing in common, in this and the next two
    "wrench/image_0010.jpg",
    "cougar_body/image_0032.jpg",
    "watch/image_0221.jpg",  # polygon and box overlap by less than a third
})  # fmt: skip
"""Images whose annotation is wrong, left out of every metric."""

SUPERSAMPLING = 4  # masks are drawn so many times larger: a pixel belongs to the object where most of it does


def read_polygon(annotations: Path, file: str) -> NDArray[np.float64]:
    """Read the polygon around an image's object: (K, 2) corners, x and y in pixels of the file, its left and upper edge 0.

    Args:
        annotations: the folder Annotations.
        file: of the image, such as Faces/image_0001.jpg.

    Raises:
        SettingsError: the annotation is missing or can't be read.
        KeyError: the image is one of ``BAD_ANNOTATIONS``.
    """
    if file in BAD_ANNOTATIONS:
        raise KeyError(file)
    name, image = file.split("/")
    path = annotations / ANNOTATION_FOLDERS.get(name, name) / image.replace("image_", "annotation_").replace(".jpg", ".mat")
    try:
        values = loadmat(path, variable_names=["box_coord", "obj_contour"])
        top, _, left, _ = values["box_coord"].astype(float).ravel()
        corners: NDArray[np.float64] = np.add(values["obj_contour"].T, (left - 0.5, top - 0.5))  # the middle of pixel 1 is 0.5
    except (OSError, ValueError, KeyError, TypeError, MatReadError) as problem:
        raise SettingsError(
            f"{path}: there is no readable annotation ({problem}); put a sound file in its place, or set data.root to another "
            "folder, into which the whole data set is unpacked or downloaded"
        ) from problem
    return corners


def polygon_mask(corners: NDArray[np.float64], original_size: tuple[int, int], size: int) -> NDArray[np.bool_]:
    """Draw the mask (size, size) of a polygon in an image that is stretched to a square.

    Args:
        corners: (K, 2), x and y in pixels of the original image.
        original_size: its width and height.
        size: side of the mask.
    """
    side = SUPERSAMPLING * size
    scaled = corners * (side / original_size[0], side / original_size[1])
    canvas = Image.new("L", (side, side))
    ImageDraw.Draw(canvas).polygon([(x - 0.5, y - 0.5) for x, y in scaled], fill=255)
    shares = np.asarray(canvas, dtype=np.float32).reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean((1, 3))
    inside: NDArray[np.bool_] = shares > 127.5
    return inside
