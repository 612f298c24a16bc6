"""Every setting of a run: typed, with its default, its choices and a line of explanation.

The dataclasses are OmegaConf structured configs. This package imports neither torch nor Lightning, so that
``python train.py --help`` answers at once.
"""

import dataclasses
import os
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

LONGEST_MESSAGE = 4000  # characters, enough for ten paths; a longer one is cut in the middle, which is the value that was typed


class SettingsError(ValueError):
    """A mistake in what the user asked for. Its message says what to do, and is shown without a traceback.

    It is one line whatever was typed: line breaks and control characters are written out.
    """

    def __init__(self, message: str) -> None:
        line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)
        if len(line) > LONGEST_MESSAGE:
            line = f"{line[: LONGEST_MESSAGE // 2]} ... {line[-LONGEST_MESSAGE // 2 :]}"
        super().__init__(line)


@dataclass(frozen=True)
class Bounds:
    """The numbers from ``low`` to ``high``, or only those ``above`` and ``below`` them."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, number: float) -> bool:
        return (self.low < number or (self.low == number and not self.above)) and (
            number < self.high or (number == self.high and not self.below)
        )

    def __str__(self) -> str:
        return f"{'above' if self.above else 'from'} {self.low} to {'below ' if self.below else ''}{self.high}"


COUNT = Bounds(1, 1_000_000)
SIZE = Bounds(0, 1_000_000)
SHARE = Bounds(0, 1, below=True)
SIDE = Bounds(67, 1024)
LARGEST_SEED = 2**32 - 1  # Lightning's


def setting(default: Any, help: str, choices: tuple[str, ...] | None = None, bounds: Bounds | None = None) -> Any:
    """Build a dataclass field with its explanation and, where not all is allowed, the words or the bounds that are."""
    metadata = {"help": help, "choices": choices, "bounds": bounds}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def expand_home(path: str | None) -> str | None:
    """Write out a leading ``~``, which shells leave as it is behind an equals sign."""
    return None if path is None else os.path.expanduser(path)


def from_environment(variable: str, default: str | None, help: str) -> Any:
    """Build a field whose default is an environment variable's value at start, else ``default``."""
    return field(
        default_factory=lambda: os.environ.get(variable, default),
        metadata={"help": f"{help} [default: ${variable}, else {default or 'none'}]", "choices": None, "bounds": None},
    )


@dataclass
class ModelSettings:
    name: str = setting("alexnet", "architecture", ("alexnet", "zfnet", "alexnet-torchvision"))
    activation: str = setting("relu", "activation after each layer", ("relu", "leaky_relu", "tanh", "sigmoid"))
    pooling: str = setting("max", "kind of pooling", ("max", "average", "l2"))
    norm: str = setting("lrn", "normalisation after pool1 and pool2", ("lrn", "batch", "none"))
    dropout: float = setting(0.5, "dropout on both hidden dense layers", bounds=SHARE)
    streams: int = setting(
        1, "2 is the original AlexNet: conv2, conv4 and conv5 in two groups (AlexNet only)", bounds=Bounds(1, 2)
    )
    conv1_size: int = setting(
        11, "side of the first layer's filters in pixels (AlexNet only; ZFNet has 7)", bounds=Bounds(1, 31)
    )
    conv1_stride: int = setting(4, "stride of the first layer in pixels (AlexNet only; ZFNet has 2)", bounds=Bounds(1, 8))
    weights: str | None = setting(
        None, "start from a run's folder, its checkpoint, or torchvision's AlexNet; a new last layer for new classes"
    )

    def __post_init__(self) -> None:
        self.weights = expand_home(self.weights)


@dataclass
class DataSettings:
    name: str = setting("caltech101", "data set", ("caltech101", "folder", "shapes"))
    root: str = from_environment(
        "CALTECH101_ROOT", "data", "folder that holds 101_ObjectCategories, or will; for data=folder, a folder for each class"
    )
    archives: str | None = from_environment(
        "CALTECH101_ARCHIVES", None, "folder with 101_ObjectCategories.tar.gz or caltech-101.zip, to unpack into data.root"
    )
    background: bool = setting(False, "keep BACKGROUND_Google as a class of its own")
    split: str = setting("fraction", "fraction: stratified; per_class: a fixed number of each class", ("fraction", "per_class"))
    test_fraction: float = setting(
        0.2, "share of each class that is tested (split=fraction)", bounds=Bounds(0, 1, above=True, below=True)
    )
    train_per_class: int = setting(30, "training images of each class (split=per_class)", bounds=COUNT)
    test_per_class: int = setting(50, "at most this many test images of each class (split=per_class)", bounds=COUNT)
    val_fraction: float = setting(0.1, "share of the training part kept for validation; 0 for none", bounds=SHARE)
    seed: int = setting(
        1, "draws the split; for shapes, the images too; -1: the run's seed draws them", bounds=Bounds(-1, LARGEST_SEED)
    )
    image_size: int | None = setting(
        160, "side of the square input in pixels; null for the architecture's own, 227 or 224", bounds=SIDE
    )
    train_sizes: list[int] = setting(
        [96, 112, 128, 160],
        "sides of the training images in equal stages of the run, small ones first; [] for image_size throughout",
        bounds=SIDE,
    )
    batch_size: int = setting(64, "images per step, over all devices together", bounds=COUNT)
    workers: int | None = setting(
        None, "processes that load images [default: none without a GPU, else up to 8]", bounds=Bounds(0, 256)
    )
    cache: bool = setting(True, "decode the images once, into a memory-mapped file")
    cache_dir: str | None = setting(
        None, "folder of that file [default: cache beside 101_ObjectCategories; data/cache for data=folder]"
    )
    skip_broken: bool = setting(False, "leave out images that can't be read or are missing; split/skipped.txt names them")
    crop_area: float = setting(
        0.3, "training crops cover at least this share of the image; 1 for no crops", bounds=Bounds(0, 1, above=True)
    )
    flip: bool = setting(True, "mirror half of the training images")
    jitter: float = setting(0.2, "brightness, contrast and saturation change by up to this share; 0 for none", bounds=SHARE)
    cutmix: float = setting(
        0.5,
        "share of the training images with a rectangle of another image, until 7/8 of the run; 0 for none",
        bounds=Bounds(0, 1),
    )
    test_crops: bool = setting(True, "at the end of the run, test each image by ten crops: corners and centre, mirrored too")
    images_per_class: int = setting(60, "images generated of each class (shapes only)", bounds=Bounds(5, 10_000))

    def __post_init__(self) -> None:
        self.root = os.path.expanduser(self.root)
        if self.name == "folder" and self.root:  # page.py and resume= find the images of a run from any folder
            self.root = os.path.abspath(self.root)
        self.archives, self.cache_dir = expand_home(self.archives), expand_home(self.cache_dir)


@dataclass
class OptimSettings:
    name: str = setting("adamw", "adamw, or sgd with Nesterov momentum", ("adamw", "sgd"))
    lr: float = setting(0.0004, "highest learning rate", bounds=Bounds(0, 1_000_000, above=True))
    filter_rate: float = setting(
        0.05,
        "highest rate of convolution filters, relative to their start's size; they then keep mean 0; 0: as all weights (adamw)",
        bounds=SHARE,
    )
    bias_rate: float = setting(
        0.004, "highest rate of the biases of filters that have filter_rate", bounds=Bounds(0, 1_000_000)
    )
    momentum: float = setting(0.9, "momentum (sgd)", bounds=SHARE)
    weight_decay: float = setting(
        1.0, "weight decay, on weights and, where filter_rate is above 0, on biases of filters", bounds=SIZE
    )
    warmup_epochs: float = setting(1.0, "epochs over which the rate rises from 0", bounds=SIZE)
    schedule: str = setting("cosine", "the rate after warm-up: cosine falls to 0", ("cosine", "constant"))
    label_smoothing: float = setting(0.1, "share of each target spread over all classes", bounds=SHARE)
    clip: float = setting(5.0, "largest norm of the gradient; 0 for no clipping", bounds=SIZE)
    filter_radius: float = setting(
        0.0,
        "largest RMS of a convolution filter, for inputs in grey levels; 0 for no limit; Zeiler and Fergus: 0.1",
        bounds=SIZE,
    )


@dataclass
class TrainerSettings:
    max_epochs: int = setting(64, "epochs to train", bounds=COUNT)
    accelerator: str = setting("auto", "what to compute on (Lightning)", ("auto", "cpu", "gpu", "cuda", "mps", "tpu"))
    devices: str = setting("auto", "auto, a number, or a list such as 0,1 (Lightning)")
    num_nodes: int = setting(1, "machines (Lightning)", bounds=Bounds(1, 10_000))
    strategy: str = setting("auto", "how several devices train together (Lightning)", ("auto", "ddp"))
    precision: str = setting(
        "auto",
        "numbers to compute with (Lightning); auto: bf16-mixed where the machine has instructions for it, else 32-true",
        ("auto", "32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"),
    )
    progress_bar: bool = setting(True, "show a progress bar on a terminal")
    keep: str = setting(
        "last",
        "weights that stay when the run has ended; all: those of both epochs, and what training longer needs",
        ("last", "best", "all", "none"),
    )


@dataclass
class VizSettings:
    every_n_epochs: int = setting(1, "make pictures every so many epochs, and after the last; 0 for none", bounds=SIZE)
    log_every_n_epochs: int = setting(
        0, "send pictures to W&B every so many epochs, and the last; 0: as often as W&B shows them well", bounds=SIZE
    )
    probes: list[str] = setting(
        [],
        "images to look at: files such as Faces/image_0001.jpg, classes for their first image, or files from elsewhere "
        "[default: the data set's own eight]",
    )
    maps: int = setting(100, "feature maps of each layer on a sheet", bounds=COUNT)
    top_maps: int = setting(
        4,
        "maps of each layer whose nine strongest activations are shown, after the last epoch three times as many; 0 for none",
        bounds=SIZE,
    )
    metrics: bool = setting(True, "measure the projections of the probes: block artefacts, localisation, class sensitivity ...")
    sensitivity: bool = setting(True, "after the last epoch, picture what the prediction depends on: occlusion and invariance")
    page: bool = setting(True, "write the run's page, index.html, after each epoch and at the end")
    scale: str = setting("robust", "range of a picture: robust: anew each time; fixed: as first seen", ("robust", "fixed"))


@dataclass
class LoggerSettings:
    name: str = setting(
        "wandb", "where curves and pictures go besides the run's folder", ("wandb", "tensorboard", "csv", "none")
    )
    mode: str = setting("auto", "auto: online where there is a key and a network", ("auto", "online", "offline"))
    project: str = setting("alexnet-zfnet-caltech101", "W&B project")
    entity: str | None = setting(None, "W&B user or team")
    group: str | None = setting(None, "W&B group")
    run_name: str | None = setting(None, "W&B's name of the run [default: that of its folder]")
    panels: str = setting("few", "what W&B shows: few: what is looked at first; all: every figure and picture", ("few", "all"))
    watch: bool = setting(False, "send histograms of weights and gradients to W&B, as often as pictures")
    log_model: str = setting("none", "weights that W&B keeps as an artifact at the end", ("none", "best", "last"))


@dataclass
class Settings:
    """All settings of one run. Groups are chosen by name (``model=zfnet``), the rest by dotted key (``optim.lr=0.01``)."""

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    viz: VizSettings = field(default_factory=VizSettings)
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    seed: int = setting(1, "weights, order of the images, augmentation, dropout", bounds=Bounds(0, LARGEST_SEED))
    runs: str = setting("runs", "folder that holds the runs' folders")
    name: str | None = setting(None, "name of the run's folder in runs [default: model-data-seed, numbered]")
    resume: str | None = setting(None, "run to resume: last for the newest, a run's folder, or its last.ckpt")

    def __post_init__(self) -> None:
        self.runs, self.resume = os.path.expanduser(self.runs), expand_home(self.resume)


def fields(of: type = Settings, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Yield every setting as (dotted key, dataclass field), in order of definition."""
    for entry in dataclasses.fields(of):
        if dataclasses.is_dataclass(entry.type):
            yield from fields(typing.cast(type, entry.type), f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", entry
