"""Units of layers: which axis has the channels, passes that end at a layer, and how units are written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from attrib_core.classifiers import Classifier
from attrib_core.prepared import prepare
from attrib_core.units import (
    Layer,
    Readout,
    UnitName,
    answers_and_output,
    choose_units,
    find_layer,
    layer_output,
    list_layers,
)
from attrib_core.units.layers import channel_axis

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Odd(nn.Module):
    """A network with layers that have no units, one that runs twice, and an activation in place behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.LeakyReLU(0.5)
        self.in_place = nn.ReLU(inplace=True)
        self.never = nn.Linear(2, 2)
        self.windows = nn.Unflatten(0, (-1, 1))
        self.constant = nn.Flatten()
        self.recurrent = nn.GRU(4, 4, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.in_place(self.twice(self.convolution(self.twice(images))))
        pooled = features.mean((2, 3))
        self.windows(pooled.repeat(3, 1))
        constant = self.constant(torch.ones(len(images), 4, 1))
        logits: Tensor = self.head(
            torch.cat([pooled + constant, self.recurrent(pooled[:, None])[0][:, 0]], 1)
        )
        return logits


@pytest.fixture(scope="module")
def odd() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier.wrap(Odd(), image_size=16)


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=[4, 4], num_classes=5
    )


@pytest.mark.parametrize(
    ("make", "layer", "expected"),
    [
        (
            lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.Flatten(), nn.Linear(294, 5)),
            "0",
            "[N, C=6, 7, 7]",
        ),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.Flatten(), nn.Linear(294, 5)), "2", "[N, C=5]"),
        (swin, "features.1.0", "[N, 4, 4, C=8]"),
        (lambda: timm.create_model("test_vit3", num_classes=5, img_size=16), "blocks.0", "[N, 2, C=96]"),
    ],
)
def test_the_axis_of_the_channels_is_found(make: Callable[[], nn.Module], layer: str, expected: str) -> None:
    model = prepare(Classifier.wrap(make(), image_size=16), device="cpu", batch_size=1)
    assert str(find_layer("units", model, layer, 16)) == expected


@pytest.mark.parametrize(
    ("shape", "other", "axis"),
    [
        ((2, 8, 14, 14), (2, 8, 7, 7), 1),
        ((2, 14, 14, 8), (2, 7, 7, 8), 3),
        ((2, 14, 14, 14), (2, 7, 7, 14), 3),  # by trying alone
        ((2, 8, 1, 1), (2, 8, 1, 1), 1),
        ((2, 1, 1, 8), (2, 1, 1, 8), 3),
        ((2, 8, 196), (2, 8, 49), 1),
        ((2, 197, 8), (), 2),
        ((2, 8), (2, 8), 1),
    ],
)
def test_channels_do_not_change_with_the_size_of_the_images(shape, other, axis) -> None:
    assert channel_axis(shape, other) == axis


@pytest.mark.parametrize(
    ("shape", "axis", "center"),
    [
        ((1, 2, 3, 3), 1, 4),
        ((1, 3, 5, 2), 3, 1 * 5 + 2),
        ((1, 1 + 16, 2), 2, 1 + 2 * 4 + 2),  # a class token, then 4 x 4 patches
        ((1, 2), 1, 0),
    ],
)
def test_the_middle_is_that_of_the_image(shape, axis, center) -> None:
    layer = Layer(name="", shape=shape[1:], channel_axis=axis)
    assert layer.center(torch.zeros(shape)) == center


def test_a_readout_is_the_mean_the_middle_or_a_projection(odd) -> None:
    model = prepare(odd, device="cpu", batch_size=4)
    layer = Layer(name="convolution", shape=(4, 16, 16), channel_axis=1)
    directions = {"f#d": np.array([[0, 0, 0, 0], [1, 2, 0, -1]], np.float32)}
    units = [UnitName.read(each) for each in ("2", "3:center", "f#d:1", "f#d:1:center")]
    output = torch.rand(4, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    found = Readout.of(model, layer, units, directions)(output)
    mean, middle, direction = output.mean((2, 3)), output[:, :, 2, 2], torch.tensor([1.0, 2, 0, -1])
    expected = torch.stack([mean[0, 2], middle[1, 3], mean[2] @ direction, middle[3] @ direction])
    torch.testing.assert_close(found, expected)


def test_a_pass_ends_at_the_layer_and_its_gradient_is_that_of_a_whole_pass(odd) -> None:
    model = prepare(odd, device="cpu", batch_size=2)
    layer, ran = find_layer("units", model, "convolution", 16), []
    handle = odd.network.head.register_forward_hook(lambda *_: ran.append(1))
    images = IMAGES.clone().requires_grad_()
    output = layer_output(model, layer, images)
    handle.remove()
    assert ran == []
    expected = odd.network.convolution(odd.network.twice(IMAGES))
    torch.testing.assert_close(output, expected)
    (gradient,) = torch.autograd.grad(output[:, 1].mean((1, 2)).sum(), images)
    again = IMAGES.clone().requires_grad_()
    whole = odd.network.convolution(odd.network.twice(again))[:, 1].mean((1, 2)).sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(whole, again)[0])
    assert not odd.network.convolution._forward_hooks


def test_the_last_run_of_a_layer_counts_before_anything_is_written_to_it(odd) -> None:
    model = prepare(odd, device="cpu", batch_size=2)
    layer = find_layer("units", model, "twice", 16)
    assert layer.num_runs == 2
    expected = F.leaky_relu(odd.network.convolution(IMAGES), 0.5)
    assert (expected < 0).any()
    torch.testing.assert_close(layer_output(model, layer, IMAGES), expected)
    logits, output = answers_and_output(model, layer, IMAGES)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(logits, odd(IMAGES))


def test_all_layers_are_listed_with_what_they_give_or_why_they_have_no_units(odd) -> None:
    listed = {each.name: each for each in list_layers(prepare(odd, device="cpu", batch_size=1), 16)}
    assert list(listed) == [name for name, _ in odd.network.named_modules() if name]
    assert str(listed["convolution"].layer) == "[N, C=4, 16, 16]"
    assert listed["never"].layer is None
    assert listed["recurrent"].reason.startswith("gives tuple")


MISTAKES = {
    "unknown layer": ("convolutoin:0", "no layer 'convolutoin'; near matches are convolution"),
    "no colon": ("convolution", "'convolution' is no unit of a layer; accepted: LAYER:CHANNELS"),
    "no channels": ("convolution:", "accepted: LAYER:CHANNELS"),
    "empty element": ("convolution:0,,1", "'' is no unit of a layer"),
    "center alone": ("convolution:center", "'convolution:center' is no unit of a layer"),
    "channel": ("convolution:0,2-4", r"gives \[N, C=4, 16, 16\]; accepted are channels 0 to 3"),
    "backwards": ("convolution:3-1", "runs backwards"),
    "word": ("convolution:first", "'first' is no channel, no range and no file"),
    "twice": ("convolution:0-2,convolution:1", "unit 1 of layer 'convolution' is listed twice"),
    "center of no places": ("head:0:center", r"gives \[N, C=5\]: it has no places, and so no center"),
    "never run": ("never:0", "layer 'never' takes no part in a pass"),
    "no tensor": (
        "recurrent:0",
        "layer 'recurrent' gives tuple; accepted is a layer that gives a float tensor",
    ),
    "windows": ("windows:0", r"gives a tensor \[3, 1, 4\] for 1 images"),
    "no image": ("constant:0", "does not depend on the image"),
    "no file": ("convolution:no.safetensors", "no such file"),
    "no safetensors": ("convolution:text.safetensors", "no safetensors file of numbers"),
    "several tensors": (
        "convolution:two.safetensors",
        "it has several tensors; accepted is two.safetensors#key",
    ),
    "no such tensor": ("convolution:two.safetensors#c", "no tensor 'c', of narrow, wide"),
    "width": (
        "convolution:two.safetensors#wide",
        r"directions of 5 numbers.*accepted are directions \[D, 4\]",
    ),
    "NaN": ("convolution:nan.safetensors", "holds NaN or infinite values"),
    "integers": ("convolution:integers.safetensors", r"is int64 \[1, 4\]; accepted are floats"),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {"narrow": np.ones((2, 4), np.float32), "wide": np.ones((1, 5), np.float32)}
    safetensors.numpy.save_file(rows, "two.safetensors")
    safetensors.numpy.save_file({"a": np.full((1, 4), np.nan, np.float32)}, "nan.safetensors")
    safetensors.numpy.save_file({"a": np.ones((1, 4), np.int64)}, "integers.safetensors")
    Path("text.safetensors").write_text("text")


@pytest.mark.parametrize("case", MISTAKES)
def test_a_unit_that_cannot_be_is_named_with_what_could_be(case: str, odd, files: None) -> None:
    text, expected = MISTAKES[case]
    with pytest.raises(ValueError, match=f"^units=.*{expected}") as refused:
        choose_units(text, prepare(odd, device="cpu", batch_size=1), 16)
    assert "\n" not in str(refused.value)


def test_a_bare_range_goes_on_with_its_layer_and_units_keep_their_order(odd, files: None) -> None:
    text = "convolution:3,0-1,head:all,convolution:1:center,2,convolution:two.safetensors#narrow:center"
    units = choose_units(text, prepare(odd, device="cpu", batch_size=1), 16)
    written = {layer: [str(name) for name in names] for layer, names in units.names.items()}
    assert written == {
        "convolution": [
            *("3", "0", "1", "1:center", "2:center"),
            *("two.safetensors#narrow:0:center", "two.safetensors#narrow:1:center"),
        ],
        "head": ["0", "1", "2", "3", "4"],
    }
    for names in units.names.values():
        assert all(UnitName.read(str(name)) == name for name in names)
    assert units.directions["two.safetensors#narrow"].shape == (2, 4)
