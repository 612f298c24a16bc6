"""What would give a wrong picture without a word: layers that aren't what they derive from, hooks, norms passed through."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fusion

from tests.viz_callbacks.engine.networks import Does
from viz_callbacks.engine.backward import BACKWARD_RULES, UnknownLayerError, backproject, backward_rule, layer_adjoint, rectify
from viz_callbacks.engine.feature_maps import convolution_layers, feature_maps, trace_up_to
from viz_callbacks.engine.forward import RecordingError, record
from viz_callbacks.engine.receptive_field import receptive_field
from viz_callbacks.engine.windows import conv_window
from viz_callbacks.methods.deconvolution import deconvolution
from viz_callbacks.methods.denet import denet
from viz_callbacks.methods.unit_projection import project_units, strongest_units


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradient(layer: Callable[[Tensor], Tensor], x: Tensor, value: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(layer(x), x, value)[0]


# --- Derived types ------------------------------------------------------------------------------------------------------------


class Standardised(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Masked(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        mask = torch.ones_like(self.weight)
        mask[:, :, -1] = 0
        masked: Tensor = self._conv_forward(input, self.weight * mask, self.bias)
        return masked


class PaddedSame(nn.Conv2d):
    """As TensorFlow pads, more at the end."""

    def forward(self, input: Tensor) -> Tensor:
        sides: list[int] = []
        for size, kernel, stride in zip(input.shape[2:], self.kernel_size, self.stride, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            sides = [total // 2, total - total // 2, *sides]
        return super().forward(F.pad(input, sides))


class Overridden(nn.Conv2d):
    """The forward is its parent's, and yet it computes something else."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        flipped: Tensor = super()._conv_forward(input, weight.flip(2), bias)
        return flipped


class LowRank(nn.Linear):
    """As LoRA adds to a dense layer."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__(into, out)
        self.down, self.up = nn.Linear(into, 2, bias=False), nn.Linear(2, out, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        added: Tensor = self.up(self.down(input))
        return super().forward(input) + added


@pytest.mark.parametrize("kind", [Standardised, Masked, PaddedSame, Overridden])
def test_a_convolution_with_a_forward_of_its_own_goes_back_by_its_own_adjoint(kind: type[nn.Conv2d]) -> None:
    layer, x = kind(4, 6, 3, 2, dtype=torch.float64), normal(2, 4, 9, 8)
    traces = record(nn.Sequential(layer), x)
    value = torch.randn_like(traces[-1].output)
    torch.testing.assert_close(backproject(traces, value), gradient(layer, x, value))
    assert convolution_layers(nn.Sequential(layer)) == ["0"]
    with pytest.raises(ValueError, match=r"has no windows of one size.*register it with a window"):
        receptive_field(traces)


def test_a_derived_type_can_be_registered_with_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKWARD_RULES, Masked, BACKWARD_RULES[nn.Conv2d])
    backward_rule(Masked, window=conv_window)(layer_adjoint)
    layer, x = Masked(4, 6, 3, 2, dtype=torch.float64), normal(2, 4, 9, 8)
    traces = record(nn.Sequential(layer), x)
    units = strongest_units(traces[-1].output)
    field = receptive_field(traces)
    for number, picture in enumerate(project_units(traces, units)):
        image, k, row, column = (int(each[number]) for each in (units.images, units.maps, units.rows, units.columns))
        start = torch.zeros_like(traces[-1].output)
        start[image, k, row, column] = traces[-1].output[image, k, row, column]
        torch.testing.assert_close(picture, field.crop(gradient(layer, x, start)[image], row, column))


def test_a_dense_layer_with_a_forward_of_its_own_subtracts_its_bias_and_takes_its_own_adjoint() -> None:
    layer, x = LowRank(5, 3).double(), normal(2, 5, 1, 1)
    traces = record(nn.Sequential(nn.Flatten(), layer), x)
    value = normal(2, 3)
    torch.testing.assert_close(
        backproject(traces, value).flatten(1), gradient(layer, x.flatten(1), value - layer.bias.detach())
    )


class ConvRectified(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


class NegatedPool(nn.MaxPool2d):
    def forward(self, input: Tensor) -> Tensor:
        return -F.max_pool2d(-input, 2) if input.numel() > 0 else input


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            ConvRectified(4, 4, 1),
            r"'0', a ConvRectified\. .*derives from Conv2d, but .* which is not linear",
        ),
        (NegatedPool(2), r"gives another output when called than its forward does"),
    ],
)
def test_a_derived_type_that_is_something_else_is_named(layer: nn.Module, message: str) -> None:
    with pytest.raises((UnknownLayerError, RecordingError), match=message):
        backproject(traces := record(nn.Sequential(layer.double()), normal(1, 4, 4, 4)), traces[-1].output)


class FastPool(nn.MaxPool2d):
    def forward(self, input: Tensor) -> Tensor:
        return input.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)) if input.numel() > 0 else input


class FastNorm(nn.LocalResponseNorm):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if input.numel() > 0 else input


class OtherNorm(nn.LocalResponseNorm):
    def forward(self, input: Tensor) -> Tensor:
        return input.flip(1) if input.numel() > 0 else input


def test_a_derived_type_that_does_the_same_in_its_own_way_has_its_parents_rule() -> None:
    x, value = normal(2, 4, 6, 6), normal(2, 4, 3, 3)
    traces = record(nn.Sequential(FastPool(2), FastNorm(3)), x)
    torch.testing.assert_close(backproject(traces, value), gradient(nn.MaxPool2d(2), x, value))
    with pytest.raises(UnknownLayerError, match=r"an? OtherNorm\..*derives from LocalRespon.*gives something else"):
        backproject(traces := record(nn.Sequential(OtherNorm(3)), x), traces[-1].output)


# --- Hooks --------------------------------------------------------------------------------------------------------------------


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2)
    )


def change_a_value(module: nn.Module, before: bool) -> None:
    """Hang a hook on a module that doubles what comes in, or takes 1 from what goes out."""
    if before:
        module.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    else:
        module.register_forward_hook(lambda module, inputs, output: output - 1)


@pytest.mark.parametrize("place", ["", "0"])
@pytest.mark.parametrize("before", [True, False])
def test_a_hook_on_a_part_that_changes_a_value_is_refused(place: str, before: bool) -> None:
    changed = network()
    change_a_value(changed.get_submodule(place), before)
    with pytest.raises(RecordingError, match=f"a hook on {repr(place) if place else 'the network'}"):
        record(changed, torch.randn(2, 3, 6, 6))


@pytest.mark.parametrize("place", ["0.0", "0.1", "1", "3"])
@pytest.mark.parametrize("before", [True, False])
def test_a_hook_on_a_layer_that_changes_its_value_is_refused(place: str, before: bool) -> None:
    changed = network()
    change_a_value(changed.get_submodule(place), before)
    with pytest.raises(RecordingError, match=rf"The layer '{place}', .*a hook changes its value"):
        record(changed, torch.randn(2, 3, 6, 6))


def test_hooks_that_only_look_are_fine() -> None:
    watched, seen = network(), list[str]()
    for name, module in watched.named_modules():
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.append(name))
    traces = record(watched, torch.randn(2, 3, 6, 6))
    assert set(seen) == {name for name, _ in watched.named_modules()}
    assert torch.equal(traces[-1].output, record(watched, traces[0].input)[-1].output)


def test_what_the_layers_do_not_show_is_found_out() -> None:
    def overwrites_a_view(self: Does, x: Tensor) -> object:
        y = self.pool(x)
        y.flatten(1).zero_()
        return y + 1

    def drops(self: Does, x: Tensor) -> object:
        return F.dropout(self.pool(x), 0.5)

    for run in (overwrites_a_view, drops):
        with pytest.raises(RecordingError, match="give another output than the network itself"):
            record(Does(run, pool=nn.AvgPool2d(1)), torch.ones(2, 3, 6, 6))


def test_images_that_depend_on_each_other_are_compared_together() -> None:
    network = Does(lambda self, x: self.block(x) + 0, block=nn.BatchNorm2d(3, track_running_stats=False))
    assert record(network, torch.randn(4, 3, 2, 2))[-1].output.shape == (4, 3, 2, 2)


# --- Norms --------------------------------------------------------------------------------------------------------------------


def test_a_picture_is_the_same_whether_batch_norm_is_folded_into_its_convolution_or_not() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.Conv2d(6, 8, 3, stride=2)
    norms = [nn.BatchNorm2d(6), nn.BatchNorm2d(8)]
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.2, 3)
        nn.init.normal_(norm.weight)  # some of them negative
        nn.init.normal_(norm.bias)
    rest = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 4))
    whole = nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU(), rest).double().eval()
    one, two = (fusion.fuse_conv_bn_eval(conv, norm) for conv, norm in zip((first, second), norms, strict=True))
    folded = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), rest).double()
    images, classes = normal(2, 3, 14, 14), torch.tensor([3, 1])
    traces, expected = record(whole, images), record(folded, images)
    torch.testing.assert_close(denet(traces, classes), denet(expected, classes))
    torch.testing.assert_close(deconvolution(traces, "3"), deconvolution(expected, "2"))
    both = [trace_up_to(traces, "3"), trace_up_to(expected, "2")]
    torch.testing.assert_close(*(project_units(below, strongest_units(below[-1].output)) for below in both))


def test_a_norm_that_turns_the_sign_turns_it_back() -> None:
    conv, norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0)
    nn.init.ones_(conv.weight)
    nn.init.constant_(norm.weight, -1)
    traces = record(nn.Sequential(conv, norm, nn.ReLU()), torch.full((1, 1, 1, 1), -2.0))
    assert feature_maps(traces, "0").item() == 2
    assert deconvolution(traces, "0").item() == -2, "the image, and not its negative"


# --- One registry -------------------------------------------------------------------------------------------------------------


class MyRectifier(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, torch.zeros_like(x))


def test_a_taught_activation_is_one_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKWARD_RULES, MyRectifier, rectify)
    torch.manual_seed(0)
    conv, second = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 5, 3)
    taught, images = nn.Sequential(conv, MyRectifier(), second, MyRectifier()), torch.randn(2, 3, 11, 11)
    traces, expected = record(taught, images), record(nn.Sequential(conv, nn.ReLU(), second, nn.ReLU()), images)
    assert torch.equal(feature_maps(traces, "2"), feature_maps(expected, "2"))
    assert torch.equal(deconvolution(traces, "2"), deconvolution(expected, "2"))
    assert receptive_field(traces) == receptive_field(expected)
    units = strongest_units(feature_maps(traces, "2"))
    assert torch.equal(project_units(traces, units), project_units(expected, units))


def test_a_softmax_within_a_network_isnt_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.Softmax(1), nn.Linear(5, 2)]
    traces = record(nn.Sequential(*layers).double(), normal(2, 3, 6, 6))
    with pytest.raises(UnknownLayerError, match=r"layer '4', a Softmax.*isn't the last layer"):
        denet(traces, torch.tensor([0, 1]))
    assert deconvolution(traces, "0").isfinite().all(), "what comes before it can be looked at"
    monkeypatch.setitem(BACKWARD_RULES, nn.Softmax, rectify)  # somebody's own rule counts everywhere
    own = denet(record(nn.Sequential(*layers).double(), normal(2, 3, 6, 6)), torch.tensor([0, 1]))
    monkeypatch.undo()
    rectified = nn.Sequential(*layers[:4], nn.ReLU(), layers[5]).double()
    assert torch.equal(own, denet(record(rectified, normal(2, 3, 6, 6)), torch.tensor([0, 1])))
