import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from viz_callbacks import Lens
from viz_callbacks.engine.backward import UnknownLayerError
from viz_callbacks.engine.forward import record
from viz_callbacks.engine.layer_trace import IMAGES
from viz_callbacks.lens.network_input import find_class_names
from viz_callbacks.lens.photographs import Photograph
from viz_callbacks.lens.seen import evenly_chosen
from viz_callbacks.methods.deconvolution import deconvolution, one_map, strongest_activation
from viz_callbacks.methods.denet import denet

NAMES = ["cat", "dog", "white wolf"]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def network(channels: int = 3, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3), nn.ReLU(),
        nn.Dropout(0.5), nn.Flatten(), nn.Linear(5 * 12 * 12, classes),
    )  # fmt: skip


def photograph(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8))


@pytest.fixture
def lens() -> Lens:
    return Lens(network(), class_names=NAMES, mean=MEAN, std=STD)


def test_it_shows_what_the_functions_below_it_compute(lens: Lens) -> None:
    seen = lens([photograph(1), photograph(2)])
    pixels = torch.stack([torch.from_numpy(np.array(photograph(s).resize((32, 32), 2))).permute(2, 0, 1) for s in (1, 2)])
    images = (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    traces = record(lens.network, images)
    assert torch.equal(seen.pictures, pixels)
    assert torch.equal(seen.deconvolution("4").tensor, deconvolution(traces, "4"))
    assert torch.equal(seen.deconvolution("4", unit=2).tensor, deconvolution(traces, "4", partial(one_map, k=2)))
    assert torch.equal(seen.denet("dog").tensor, denet(traces, torch.tensor([1, 1])))
    assert torch.equal(seen.denet().tensor, denet(traces, seen.logits.argmax(1)))
    assert torch.equal(seen.denet(["cat", 2]).tensor[:, 1], denet(traces, torch.tensor([2, 2])))
    assert torch.equal(seen.denet(0, subtract_bias=False).tensor, denet(traces, torch.tensor([0, 0]), subtract_bias=False))


def test_top_maps_are_those_with_the_largest_activations_of_each_photograph(lens: Lens) -> None:
    seen = lens([photograph(1), photograph(2)])
    top = seen.top_maps("4", 3)
    assert top.tensor.shape == (2, 3, 3, 32, 32)
    maps = seen.traces[5].output
    for image in range(2):
        order = sorted(range(5), key=lambda k: -float(maps[image, k].max()))[:3]
        assert list(top.labels[image]) == [f"map {k}" for k in order]
        for place, k in enumerate(order):
            alone = deconvolution(seen.traces, "4", partial(strongest_activation, k=k))[image]
            assert torch.allclose(top.tensor[image, place], alone, atol=1e-7)


def test_predictions_are_the_probabilities(lens: Lens) -> None:
    seen = lens(photograph())
    probabilities = lens.network.eval()(seen.traces[0].input).detach().softmax(1)[0]
    ((first, *_),) = seen.predictions
    assert first.class_name == NAMES[int(probabilities.argmax())]
    assert first.probability == pytest.approx(float(probabilities.max()))
    assert repr(seen).startswith(f"image-1: [{first.class_name} {first.probability:.1%}, ")


def test_a_photograph_may_come_in_any_form(lens: Lens, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    photograph().save(file)
    pixels = np.array(photograph())
    expected = lens(photograph())
    forms: list[Photograph] = [file, str(file), pixels, pixels / 255, torch.from_numpy(pixels).permute(2, 0, 1)]
    for photo in forms:
        assert torch.equal(lens(photo).logits, expected.logits)
    ready = expected.traces[0].input
    normalised: list[Photograph | list[Photograph]] = [ready, ready[0], [ready[0]]]
    for form in normalised:
        seen = lens(form)
        assert torch.equal(seen.logits, expected.logits)
        assert torch.equal(seen.pictures, expected.pictures)
    assert lens(file).names == ["photo.png"]


def test_a_photograph_is_upright_and_cut_to_a_square_or_stretched(tmp_path: Path) -> None:
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, :32] = 255  # white on the left
    turned = Image.fromarray(np.rot90(wide).copy())  # as a camera stores it that was held on its side
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    cut = Lens(network(), size=32)(tmp_path / "turned.png").pictures[0, 0]
    assert (cut[:, :14] == 255).all()
    assert (cut[:, 18:] == 0).all()
    stretched = Lens(network(), size=32, stretch=True)(wide[:, 16:]).pictures[0, 0]  # white on its left third
    assert (stretched[:, :9] == 255).all()
    assert (stretched[:, 12:] == 0).all()


def test_what_is_transparent_is_white(lens: Lens) -> None:
    glass = Image.new("RGBA", (40, 40), (10, 20, 30, 0))
    assert (lens(glass).pictures == 255).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_of_sixteen_bits_the_upper_eight_count(mode: str, lens: Lens, tmp_path: Path) -> None:
    eight = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    sixteen = eight.astype(np.uint16) * 256 + 77
    wide = Image.frombytes(mode, (40, 40), sixteen.astype("<u2" if mode == "I;16" else ">u2").tobytes())
    wide.save(tmp_path / "wide.tif")
    for photo in (wide, tmp_path / "wide.tif"):
        assert torch.equal(lens(photo).pictures, lens(Image.fromarray(eight)).pictures)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_a_range_are_refused(mode: str, lens: Lens, tmp_path: Path) -> None:
    Image.new(mode, (40, 40), 70).save(tmp_path / "heights.tif")
    with pytest.raises(OSError, match=r"heights\.tif can't be read as a photograph: .* save it with 8 or 16 bits"):
        lens(tmp_path / "heights.tif")
    with pytest.raises(ValueError, match="save it with 8 or 16 bits"):
        lens(Image.new(mode, (40, 40), 70))


def test_of_several_pictures_in_a_file_the_first_is_seen_and_any_colours_are_read(lens: Lens, tmp_path: Path) -> None:
    first, second = Image.new("RGB", (40, 40), (200, 60, 40)), Image.new("RGB", (40, 40), (0, 0, 90))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    first.convert("CMYK").save(tmp_path / "printed.jpg", quality=100)
    first.quantize(4).save(tmp_path / "palette.png")
    first.convert("LAB").save(tmp_path / "lab.tif")
    expected = lens(first).pictures.int()
    for name in ("moving.gif", "printed.jpg", "palette.png", "lab.tif"):
        assert (lens(tmp_path / name).pictures.int() - expected).abs().max() <= 3, name


def test_a_file_that_cant_be_read_is_named(lens: Lens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph().save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    for name in ("cut.png", "text.png"):
        with pytest.raises(OSError, match=f"{name} can't be read as a photograph: "):
            lens(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(OSError, match=r"whole\.png can't be read as a photograph: .*decompression bomb"):
        lens(tmp_path / "whole.png")


@pytest.mark.parametrize("kept", [0, 100, 1000])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "gif"])
def test_a_file_that_is_cut_short_is_named(lens: Lens, tmp_path: Path, suffix: str, kept: int) -> None:
    file = tmp_path / f"cut.{suffix}"
    photograph().resize((200, 200)).save(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(OSError, match=file.name):
        lens(file)


def test_a_grey_network_takes_grey_and_shows_it() -> None:
    grey = Lens(network(channels=1))
    seen = grey(photograph())
    assert seen.pictures.shape == (1, 1, 32, 32)
    assert torch.equal(seen.pictures[0, 0], torch.from_numpy(np.array(photograph().convert("L").resize((32, 32), 2))))
    assert seen.image.width > 3 * 32
    assert "none, as none is given" in repr(grey)


def test_size_channels_and_normalisation_are_found() -> None:
    assert Lens(network()).input.size == 32, "the dense layer fits nothing else"
    assert Lens(torchvision.models.squeezenet1_1()).input.size == 224
    assert "ImageNet's, as none is given" in Lens(network()).input.origin
    timms = network()
    says = {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    timms.pretrained_cfg = says  # type: ignore[assignment]  # a module's attributes are tensors and modules to mypy
    found = Lens(timms).input
    assert (found.mean, found.origin) == ((0.1, 0.2, 0.3), "the network's own")
    grey = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    grey.pretrained_cfg = timms.pretrained_cfg  # as timm leaves it where other channels are asked for
    assert (Lens(grey).input.mean, Lens(grey).input.origin) == ((0.0,), "none, as none is given")
    with pytest.raises(ValueError, match=r"mean and std have 3 and 1 values; give one, or one for each of the 1 channels"):
        Lens(grey, mean=[0.5] * 3, std=[0.5])


def test_torchvisions_networks_have_the_classes_of_imagenet() -> None:
    torch.manual_seed(0)
    seen = Lens(torchvision.models.squeezenet1_1(), size=64)(photograph())
    assert (seen.class_names[281], len(seen.class_names)) == ("tabby", 1000)
    assert torch.equal(seen.denet("Tabby").tensor, seen.denet(281).tensor)
    with pytest.raises(ValueError, match=r"There is no class 'tabi'\. Did you mean .*tabby"):
        seen.denet("tabi")
    timms = type("ResNet", (nn.Sequential,), {"__module__": "timm.models.resnet"})
    assert find_class_names(timms(), 1000)[281] == "tabby"
    assert find_class_names(timms(), 10)[:2] == ["0", "1"]


def test_the_picture_shows_layers_and_classes_at_one_glance(lens: Lens) -> None:
    seen = lens([photograph(1), photograph(2)])
    png = seen._repr_png_()
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size == seen.image.size
        assert picture.width >= 5 * 32  # the image, two layers, DeNet with and without biases
        assert picture.height >= 2 * 32
    fewer = seen.picture(layers=["4"], classes=["dog"])
    assert fewer.width <= seen.image.width


def test_a_projection_writes_itself(lens: Lens, tmp_path: Path) -> None:
    projection = lens(photograph()).deconvolution("0")
    projection.save(tmp_path / "conv.png")
    with Image.open(tmp_path / "conv.png") as picture:
        assert picture.size == projection.image.size
    assert projection._repr_png_().startswith(b"\x89PNG")
    assert repr(projection) == "Deconvolution of 0: .tensor (1, 3, 32, 32); .show(), .save(file)"


def test_a_network_without_classes_has_layers_only() -> None:
    encoder = Lens(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 2, 3)), size=32)
    seen = encoder(photograph())
    assert seen.predictions == [[]]
    assert seen.image.width < 40 * 32
    with pytest.raises(ValueError, match="DeNet needs a last output"):
        seen.denet(0)


def test_a_wrapped_network_is_looked_at_and_left_as_it_is(lens: Lens) -> None:
    training = network().train()
    before = {name: value.clone() for name, value in training.state_dict().items()}
    wrapped = Lens(nn.DataParallel(training), class_names=NAMES, mean=MEAN, std=STD)
    assert torch.equal(wrapped(photograph()).logits, lens(photograph()).logits)
    assert training.training
    assert all(torch.equal(before[name], value) for name, value in training.state_dict().items())
    assert wrapped(photograph()).traces[0].sources == (IMAGES,)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "no photograph"),
        (np.full((8, 8, 3), 2.0), "between 0 and 1"),
        (np.zeros((8, 8, 5), np.uint8), r"\(H, W, 1, 3 or 4\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "this is a tensor"),
        (3, "this is a int"),
        ([torch.zeros(3, 32, 32), torch.zeros(3, 30, 30)], "of one size"),
        ([torch.zeros(3, 32, 32), np.zeros((32, 32, 3), np.uint8)], "nothing else among them"),
    ],
)
def test_what_is_no_photograph_is_refused(lens: Lens, wrong: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lens(wrong)  # type: ignore[arg-type]  # what the types forbid is what is tried


def test_mistakes_are_one_clear_line(lens: Lens, tmp_path: Path) -> None:
    seen = lens(photograph())
    with pytest.raises(ValueError, match="There is no convolution layer 'conv9'; the network has 0, 4"):
        seen.deconvolution("conv9")
    with pytest.raises(ValueError, match="4 has maps 0 to 4, not 5"):
        seen.deconvolution("4", unit=5)
    with pytest.raises(ValueError, match=r"Classes must lie in 0 \.\.\. 2, not 3"):
        seen.denet(3)
    with pytest.raises(FileNotFoundError):
        lens(tmp_path / "nothing.jpg")
    with pytest.raises(ValueError, match="no convolution layer"):
        Lens(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="both mean and std"):
        Lens(network(), mean=MEAN)
    with pytest.raises(ValueError, match="class_names holds 2 names; the network has 3 classes"):
        Lens(network(), class_names=["a", "b"])(photograph())
    with pytest.raises(ValueError, match=r"runs on no square of .*; give its size="):
        Lens(nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten(), nn.Linear(7, 2)))
    with pytest.raises(ValueError, match="4 channels: give tensors"):
        Lens(network(channels=4))(photograph())


def test_a_class_is_named_by_whatever_is_a_number_and_a_layer_by_one_name(lens: Lens) -> None:
    seen = lens(photograph())
    for dog in ("dog", 1, "1", np.int64(1), torch.tensor(1)):
        assert torch.equal(seen.denet(dog).tensor, seen.denet(1).tensor)
    one = seen.picture("4", "white wolf")
    assert np.array_equal(np.asarray(one), np.asarray(seen.picture(["4"], ["white wolf"])))
    with pytest.raises(ValueError, match="Name at least one class"):
        seen.denet([])
    with pytest.raises(ValueError, match="count must be 1 or more, not 0"):
        seen.top_maps("4", 0)


class Exponential(nn.Module):
    """A network with a function that has no way back: before a gate, and before the last convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.gate, self.second, self.last = (nn.Conv2d(3, 3, 3) for _ in range(4))
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        below = self.first(images).relu()
        gated = below[..., 1:-1, 1:-1] * torch.sigmoid(self.gate(below.exp()))
        logits: Tensor = self.head(self.last(self.second(gated).exp()).relu().mean((2, 3)))
        return logits


def test_what_has_no_way_back_is_left_out_with_the_reason() -> None:
    seen = Lens(Exponential(), size=32)(photograph())
    assert seen.layers == ["first", "gate", "second", "last"]
    assert seen.left_out.startswith("Without 2 of 4 convolution layers and DeNet: No backward rule is known for 'exp'. ")
    # Shown are the image and the layers from which there is a way. The second's gate was computed by exp, but it is held.
    assert np.array_equal(np.asarray(seen.image)[80:], np.asarray(seen.picture(["first", "second"], []))[60:])
    for layers, classes in ((["gate"], []), (["last"], []), (["first"], [0])):
        with pytest.raises(UnknownLayerError, match="'exp"):
            seen.picture(layers, classes)


def test_nothing_is_left_out_where_all_has_a_way_back(lens: Lens) -> None:
    assert lens(photograph()).left_out == ""


def test_a_single_logit_is_a_yes_or_no_and_a_sigmoid_is_not_given_a_softmax() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)]
    for last in ([], [nn.Sigmoid()]):
        seen = Lens(nn.Sequential(*layers, *last), size=32, class_names=["cat"])(photograph())
        logit = nn.Sequential(*layers)(seen.traces[0].input)
        assert seen.predictions[0][0].probability == pytest.approx(float(1 / (1 + torch.exp(-logit.detach()))))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_precision_or_layout_shows_the_same(kind: torch.dtype, lens: Lens) -> None:
    other = Lens(network().to(kind).to(memory_format=torch.channels_last), class_names=NAMES, mean=MEAN, std=STD)
    seen, expected = other(photograph()), lens(photograph())
    assert seen.deconvolution("4").tensor.dtype == kind
    cosine = torch.cosine_similarity(
        seen.deconvolution("4").tensor.flatten().float(), expected.deconvolution("4").tensor.flatten(), 0
    )
    assert cosine > 0.99
    assert seen.image.size == expected.image.size


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_network_that_cant_be_run_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"0\.weight has no values yet.*load or initialise"):
        Lens(network().to("meta"))
    with pytest.raises(ValueError, match=r"0\.weight has no values yet.*load or initialise"):
        Lens(nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU()))
    for program in (torch.jit.script(network()), torch.export.export(network().eval(), (torch.zeros(1, 3, 32, 32),)).module()):
        with pytest.raises(ValueError, match=r"give the module that it was made of"):
            Lens(program)
    parts = nn.Module()
    parts.network = network()
    with pytest.raises(ValueError, match="A Module has no forward: give the part of it that is the network"):
        Lens(parts)


def test_of_many_layers_some_are_chosen() -> None:
    names = [f"conv{number}" for number in range(53)]
    chosen = evenly_chosen(names, 8)
    assert (chosen[0], chosen[-1], len(chosen)) == ("conv0", "conv52", 8)
    assert evenly_chosen(names[:5], 8) == names[:5]
