"""Grad-CAM: the layer that is found, captum's and pytorch-grad-cam's values, and what is refused."""

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from attrib_core.attribution import AttributionSettings, attribute, method_named
from attrib_core.attribution.feature_maps import find_feature_map
from attrib_core.attribution.grad_cam import check_grad_cam
from attrib_core.classifiers import Classifier
from attrib_core.prepared import PreparedModel, prepare

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}
# Small networks with random weights: the layer that is found, its map, and the tokens that are no patches.
NETWORKS: dict[str, tuple[str, dict[str, Any], str, tuple[int, int], int | None]] = {
    "class token": ("vit_tiny_patch16_224", VIT, "blocks.2.norm1", (4, 4), 1),
    "registers": (
        "vit_tiny_patch16_224",
        {**VIT, "reg_tokens": 4, "img_size": 24},
        "blocks.2.norm1",
        (3, 3),
        5,
    ),
    "mean of tokens": (
        "vit_tiny_patch16_224",
        {**VIT, "class_token": False, "global_pool": "avg"},
        "blocks.2.norm2",
        (4, 4),
        0,
    ),
    "places before channels": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 32, "embed_dim": 12, "depths": (1, 2), "num_heads": (2, 2), "window_size": 4},
        "norm",
        (4, 4),
        None,
    ),
    "residual": ("resnet10t", {}, "layer3.0.act2", (2, 2), None),
}


def wrapped(case: str, size: int = 32) -> Classifier:
    name, settings, *_ = NETWORKS[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=5, **settings)
    side = settings.get("img_size", size)
    return Classifier.wrap(network, mean=[0.5] * 3, std=[0.5] * 3, image_size=side, name=name)


def pixels(classifier: Classifier, count: int = 3) -> Tensor:
    side, generator = classifier.image_size, torch.Generator().manual_seed(1)
    return torch.rand(count, classifier.channels, side, side, generator=generator)


class Peer(GradCAM):
    """pytorch-grad-cam before it scales its map to [0, 1]."""

    def of(self, images: Tensor, classes: Tensor) -> Tensor:
        targets = [ClassifierOutputTarget(int(each)) for each in classes]
        self.forward(images, targets)
        activations = self.activations_and_grads.activations[0].cpu().data.numpy()
        gradients = self.activations_and_grads.gradients[0].cpu().data.numpy()
        found = self.get_cam_image(images, self.target_layers[0], targets, activations, gradients)
        return torch.from_numpy(found)


def peer(classifier: Classifier, case: str, images: Tensor, classes: Tensor) -> Tensor:
    _, _, name, (height, width), own = NETWORKS[case]

    def reshaped(output: Tensor) -> Tensor:
        if own is not None:
            output = output[:, own:].reshape(len(output), height, width, -1)
        return output.permute(0, 3, 1, 2)

    transform = None if case == "residual" else reshaped
    with Peer(classifier, [classifier.network.get_submodule(name)], reshape_transform=transform) as cam:
        cam.detach = True
        return cam.of(clone_of(images), classes)


@pytest.mark.parametrize("case", NETWORKS)
def test_the_layer_is_found_and_its_map_is_pytorch_grad_cams(case) -> None:
    classifier = wrapped(case)
    images, classes = pixels(classifier), torch.arange(3)
    model = prepare(classifier, device="cpu", batch_size=4)
    side = classifier.image_size
    found = find_feature_map("here", model, None, (side, side))
    _, _, name, size, own = NETWORKS[case]
    assert (found.name, found.size, found.num_own_tokens) == (name, size, own)
    values = attribute(
        model, images, classes, ["grad_cam:relu=true", f"grad_cam:layer={name}"], target="label"
    ).values
    expected = peer(classifier, case, images, classes)[:, None]
    for name, each in zip(values, (expected.relu(), expected), strict=True):
        enlarged = F.interpolate(each, (side, side), mode="bilinear", align_corners=False)
        assert_close(values[name], enlarged.expand_as(images), expected)
    [note] = check_grad_cam(model)
    assert f"layer={found.name}," in note
    assert f"{size[0]} × {size[1]}" in note
    assert check_grad_cam(model, layer=found.name) == ()


def test_the_layer_is_found_before_the_head_is_trained() -> None:
    """A transformer's head may begin with zeros, through which no gradient flows."""
    classifier = wrapped("class token")
    before = find_feature_map("here", prepare(classifier, device="cpu", batch_size=4), None, (32, 32))
    with torch.no_grad():
        for parameter in classifier.network.head.parameters():
            parameter.zero_()
    model = prepare(classifier, device="cpu", batch_size=4)
    assert find_feature_map("here", model, None, (32, 32)) == before


def assert_close(found: Tensor, expected: Tensor, scale: Tensor | None = None) -> None:
    largest = (expected if scale is None else scale).abs().max().item()
    assert largest > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * largest)


def clone_of(images: Tensor) -> Tensor:
    """Images as captum wants them."""
    return images.clone().requires_grad_()


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
@pytest.mark.parametrize("upsample", ["bilinear", "nearest", "bicubic"])
def test_the_shipped_network_is_explained_as_by_captum(upsample, images, plain_fashion, peers) -> None:
    pixels, labels = images[0][:6], images[1][:6]
    settings = AttributionSettings(upsample=upsample)
    methods = ["grad_cam", "guided_grad_cam", "grad_cam:layer=conv3"]
    found = attribute(plain_fashion, pixels, labels, methods, target="label", settings=settings).values
    network = plain_fashion.classifier
    for name, layer in (("grad_cam", "conv4"), ("grad_cam:layer=conv3", "conv3")):
        cam = peers.LayerGradCam(network, network.network.get_submodule(layer))
        expected = peers.LayerAttribution.interpolate(
            cam.attribute(clone_of(pixels), labels), (28, 28), upsample
        )
        assert_close(found[name], expected.detach())
    guided = peers.GuidedGradCam(network, network.network.get_submodule("conv4"))
    assert_close(
        found["guided_grad_cam"],
        guided.attribute(clone_of(pixels), labels, interpolate_mode=upsample).detach(),
    )


def test_lite0_is_explained_as_by_captum(lite0, peers) -> None:
    images, classes = pixels(lite0, 2)[..., :96, :96], torch.tensor([3, 7])
    model = prepare(lite0, device="cpu", batch_size=4)
    found = attribute(model, images, classes, ["grad_cam"], target="label").values["grad_cam"]
    layer = find_feature_map("here", model, None, (96, 96))
    cam = peers.LayerGradCam(lite0, lite0.network.get_submodule(layer.name))
    expected = peers.LayerAttribution.interpolate(cam.attribute(images, classes), (96, 96), "bilinear")
    assert_close(found, expected.detach().expand_as(images))


class Net(nn.Module):
    """A network with what hooks stumble over: activations in place, some of them functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True)
        self.last, self.unused = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        made = self.last(self.relu(self.conv(images)))
        return self.head(self.pool(F.relu_(made)).flatten(1))


@pytest.fixture
def net(classifier_of) -> PreparedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Net()
    return prepare(classifier_of(network, num_classes=3, image_size=8), device="cpu", batch_size=4)


def test_a_layer_that_is_written_to_is_explained_as_it_was(net) -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1])
    found = attribute(net, images, labels, ["grad_cam:upsample=nearest"], target="label")
    network = net.classifier.network
    maps = network.last(F.relu(network.conv(net.images(images))))
    weights = network.head.weight[labels][:, :, None, None] / 16 * (maps > 0)
    expected = (weights.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)
    [values] = found.values.values()
    assert_close(values, F.interpolate(expected, (8, 8)))


REFUSED = {
    "layer=conf": "no layer 'conf'; near matches are conv",
    "layer=unused": "layer=unused takes no part in a pass",
    "layer=pool": r"layer=pool gives \[N, 4, 1, 1\]; accepted is one that gives a map of more than one pixel",
    "layer=head": r"layer=head gives \[N, 3\]; accepted",
    "upsample=cubic": "upsample=cubic",
    "tolerance=0.1": "no setting 'tolerance'",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_is_no_layer_with_places_is_refused_before_work_starts(setting, net) -> None:
    with pytest.raises(ValueError, match=f"methods='grad_cam:{setting}': .*{REFUSED[setting]}"):
        method_named(f"grad_cam:{setting}").check(net)


def test_a_network_without_maps_is_refused(linear_classifier) -> None:
    model = prepare(linear_classifier(torch.ones(3, 1, 4, 4), torch.zeros(3)), device="cpu", batch_size=2)
    for name in ("grad_cam", "guided_grad_cam"):
        with pytest.raises(ValueError, match="no layer that gives a map of more than one pixel"):
            method_named(name).check(model)


def test_a_gradient_that_nothing_guides_is_the_gradient_and_a_note_says_so(classifier_of) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 3))
    model = prepare(classifier_of(network, num_classes=3, image_size=8), device="cpu", batch_size=4)
    batch = torch.rand(4, 1, 8, 8), torch.arange(4) % 3
    methods = ["gradient", "grad_cam:relu=true", "guided_grad_cam"]
    gradient, cam, guided = attribute(model, *batch, methods).values.values()
    assert_close(guided, gradient * cam)
    assert "nothing is guided" in method_named("guided_grad_cam").check(model)[-1]


def test_hooks_are_removed_whatever_happens(net, monkeypatch) -> None:
    images, labels = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    methods = ["grad_cam", "guided_grad_cam"]
    attribute(net, images, labels, methods)
    monkeypatch.setattr(F, "relu_", lambda _made: 1 / 0)
    for method in methods:
        with pytest.raises(ZeroDivisionError):
            attribute(net, images, labels, [method])
    modules = list(net.classifier.modules())
    assert not any(each._forward_hooks or each._forward_pre_hooks or each._backward_hooks for each in modules)
