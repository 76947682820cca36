"""captum's methods by reference: what captum gives when called directly, on the same model and batch."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.attribution import attribute, deletion_and_insertion, method_named
from attrib_core.classifiers import Classifier
from attrib_core.pooling import SlicedMaxPool2d
from attrib_core.prepared import PreparedModel, prepare
from attrib_core.seeding import derive_seed, global_randomness

NUM_IMAGES, CHANNELS, HEIGHT, WIDTH, NUM_CLASSES = 8, 3, 10, 10, 5
LABELS = torch.arange(NUM_IMAGES) % NUM_CLASSES
LAST, SEGMENT = "features.3", 3


class Net(nn.Module):
    """A network with what hooks stumble over: activations in place, and a pool that is replaced on a CPU."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(CHANNELS, 8, 3, padding=1),
            nn.ReLU(in_place),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(in_place),
        )
        self.head = nn.Linear(8 * 5 * 5, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).flatten(1))


def network(*, in_place: bool) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(in_place=in_place).eval()


def pixels() -> Tensor:
    return torch.rand(NUM_IMAGES, CHANNELS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def classifier() -> Classifier:
    return Classifier.wrap(network(in_place=True), image_size=HEIGHT, channels=CHANNELS, name="net")


@pytest.fixture
def model(classifier: Classifier) -> PreparedModel:
    """In the fastest format, in passes that hold all images."""
    return prepare(classifier, device="cpu", batch_size=NUM_IMAGES)


@dataclass(frozen=True)
class Direct:
    """captum on the plain network, in the memory format of the model."""

    attr: Any
    images: Tensor

    @property
    def net(self) -> Any:
        return network(in_place=False).to(memory_format=torch.channels_last)

    def of(self, name: str, **settings: Any) -> Tensor:
        return getattr(self.attr, name)(self.net).attribute(self.images, target=LABELS, **settings)

    def grad_cam(self, layer: str) -> Tensor:
        net = self.net
        values = self.attr.LayerGradCam(net, net.get_submodule(layer)).attribute(self.images, target=LABELS)
        return self.attr.LayerAttribution.interpolate(values, (HEIGHT, WIDTH), "bilinear").expand_as(
            self.images
        )

    def guided_grad_cam(self) -> Tensor:
        net = self.net
        return self.attr.GuidedGradCam(net, net.get_submodule(LAST)).attribute(self.images, target=LABELS)

    def kernel_shap(self) -> Tensor:
        captum = self.attr.KernelShap(self.net)
        captum.interpretable_model = Regression()
        return captum.attribute(self.images, target=LABELS, feature_mask=segments())


class Regression:
    """Weighted least squares with an intercept as a column of its own."""

    def fit(self, train_data: Any) -> dict[str, float]:
        features, targets, weights = (
            torch.cat(list(each)).double() for each in zip(*train_data, strict=True)
        )
        root = weights.reshape(-1, 1).sqrt()
        table = torch.cat([features, torch.ones(len(features), 1)], 1)
        self.found = torch.linalg.lstsq(table * root, targets.reshape(-1, 1) * root, driver="gelsd").solution
        return {}

    def representation(self) -> Tensor:
        return self.found[:-1].T.float()


def segments() -> Tensor:
    rows, columns = torch.arange(HEIGHT) // SEGMENT, torch.arange(WIDTH) // SEGMENT
    return (rows[:, None] * 4 + columns)[None, None]


METHODS: dict[str, Callable[[Direct], Tensor]] = {
    "Saliency": lambda direct: direct.of("Saliency"),
    "Saliency:abs=false": lambda direct: direct.of("Saliency", abs=False),
    "InputXGradient": lambda direct: direct.of("InputXGradient"),
    "IntegratedGradients:n_steps=7": lambda direct: direct.of(
        "IntegratedGradients", n_steps=7, internal_batch_size=NUM_IMAGES
    ),
    "IntegratedGradients:n_steps=5:baselines=0.5:method=riemann_trapezoid": lambda direct: direct.of(
        "IntegratedGradients", n_steps=5, baselines=0.5, method="riemann_trapezoid"
    ),
    "DeepLift": lambda direct: direct.of("DeepLift"),
    "DeepLift:baselines=0.25": lambda direct: direct.of("DeepLift", baselines=0.25),
    "GuidedBackprop": lambda direct: direct.of("GuidedBackprop"),
    "Deconvolution": lambda direct: direct.of("Deconvolution"),
    "LayerGradCam": lambda direct: direct.grad_cam(LAST),
    "LayerGradCam:layer=features.0": lambda direct: direct.grad_cam("features.0"),
    "GuidedGradCam": lambda direct: direct.guided_grad_cam(),
    "Occlusion:window_size=4:stride=3": lambda direct: direct.of(
        "Occlusion", sliding_window_shapes=(CHANNELS, 4, 4), strides=(CHANNELS, 3, 3)
    ),
    f"FeatureAblation:segment_size={SEGMENT}": lambda direct: direct.of(
        "FeatureAblation", feature_mask=segments()
    ),
    f"KernelShap:segment_size={SEGMENT}": lambda direct: direct.kernel_shap(),
    "GradientShap:stdevs=0.1": lambda direct: direct.of(
        "GradientShap", baselines=torch.zeros(1, CHANNELS, HEIGHT, WIDTH), stdevs=0.1
    ),
}
RANDOM = ("KernelShap", "GradientShap")


@pytest.mark.parametrize("method", METHODS)
def test_values_are_captums_own(method, model, peers) -> None:
    name = str(method_key(method))
    found = attribute(model, pixels(), LABELS, [name], target="label").values[name]
    images = model.images(pixels()).requires_grad_()
    with warnings.catch_warnings(), global_randomness(derive_seed(0, name, 0)):
        warnings.simplefilter("ignore")
        expected = METHODS[method](Direct(peers, images)).detach()
    assert found.shape == images.shape
    assert found.abs().max() > 0
    torch.testing.assert_close(found, expected.contiguous(), rtol=0, atol=1e-6 * max(1, expected.abs().max()))


def method_key(method: str) -> str:
    """The canonical text, whose settings are in the order of their keys."""
    name, *settings = method.split(":")
    return ":".join(["captum", name, *sorted(settings)])


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith(RANDOM)])
def test_an_image_does_not_depend_on_the_size_of_the_passes(method, model, classifier) -> None:
    name = f"captum:{method}"
    small = prepare(classifier, device="cpu", batch_size=4)
    expected = attribute(model, pixels(), LABELS, [name]).values[name]
    found = attribute(small, pixels()[:7], LABELS[:7], [name]).values[name]
    torch.testing.assert_close(found, expected[:7], rtol=0, atol=1e-5 * max(1, expected.abs().max()))


def test_the_network_and_the_random_state_are_left_as_they_were(model) -> None:
    names = [method_key(each) for each in METHODS]
    state = torch.get_rng_state()
    attribute(model, pixels(), LABELS, names)
    assert torch.equal(torch.get_rng_state(), state)
    modules = list(model.classifier.modules())
    assert [each.inplace for each in modules if isinstance(each, nn.ReLU)] == [True, True]
    assert any(type(each) is SlicedMaxPool2d for each in modules)
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(each, kind) for each in modules for kind in hooks)
    assert all(each.grad is None for each in model.classifier.parameters())


@pytest.mark.parametrize("name", ["captum:KernelShap:segment_size=4", "captum:GradientShap"])
def test_random_numbers_follow_from_the_seed_and_the_first_key(name, model) -> None:
    keys = tuple(range(5, 13))
    first, again, other = (
        attribute(model, pixels(), LABELS, [name], keys=each).values[name]
        for each in (keys, keys, tuple(range(8)))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_loss_is_explained_where_captum_can(model) -> None:
    ours = attribute(model, pixels(), LABELS, ["loss_gradient"]).values["loss_gradient"]
    name = "captum:Saliency:abs=false"
    found = attribute(model, pixels(), LABELS, [name], target="loss").values[name]
    torch.testing.assert_close(found, ours, rtol=0, atol=1e-6)
    for name in (key for key in map(method_key, METHODS) if "DeepLift" not in key):
        values = attribute(model, pixels(), LABELS, [name], target="loss").values[name]
        assert values.abs().max() > 0, name


def test_signs_are_known() -> None:
    unsigned = {"captum:Saliency", "captum:LayerGradCam:relu_attributions=true"}
    for name in (*unsigned, "captum:Saliency:abs=false", "captum:LayerGradCam", "captum:DeepLift"):
        assert method_named(name).is_signed == (name not in unsigned), name


def test_maps_of_captum_can_be_scored(model) -> None:
    found = attribute(model, pixels(), LABELS, ["captum:LayerGradCam"])
    scores = deletion_and_insertion(model, pixels(), found.values["captum:LayerGradCam"], found.prediction)
    assert all(score.isfinite().all() for score in scores)


def test_the_layer_that_nobody_named_is_said() -> None:
    """The last convolution here gives one pixel, which says nothing about places."""
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 3, 1),
    )
    model = prepare(
        Classifier.wrap(nn.Sequential(layers, nn.Flatten()), image_size=8, channels=1), device="cpu"
    )
    [note] = method_named("captum:LayerGradCam").check(model)
    assert note.startswith("captum:LayerGradCam: layer=0.2, the last convolution above one pixel: 2 × 2")
    name = "captum:LayerGradCam"
    found = attribute(model, torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), [name, f"{name}:layer=0.2"])
    assert torch.equal(*found.values.values())


def test_deep_lift_says_where_its_sum_is_not_what_it_promises() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.second(F.relu(self.first(images) - 0.2).flatten(1))

    torch.manual_seed(0)
    model = prepare(Classifier.wrap(Functional(), image_size=8, channels=1), device="cpu", batch_size=2)
    [note] = method_named("captum:DeepLift").check(model)
    assert note.startswith("captum:DeepLift: on an image of grey the values add up to ")


def refuse(model: PreparedModel, name: str, target: str = "predicted", images: Tensor | None = None) -> str:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the message is what the test returns
        attribute(model, pixels() if images is None else images, LABELS, [name], target=target)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "message"),
    {
        "captum": "accepted is captum:NAME, of Saliency, InputXGradient",
        "captum:DeepLft": "no method 'DeepLft'; near matches are DeepLift",
        "captum:DeepLift:more": "accepted is captum:NAME, of Saliency, InputXGradient",
        "captum:DeepLift:n_steps=3": "no setting 'n_steps'; near matches are eps",
        "captum:IntegratedGradients:n_steps=0": "n_steps=0: Input should be greater than or equal to 1",
        "captum:IntegratedGradients:n_steps=2.5": "n_steps=2.5: Input should be a valid integer",
        "captum:IntegratedGradients:method=simpson": "method=simpson: Input should be 'gausslegendre', ",
        "captum:IntegratedGradients:baselines=2": "baselines=2: Input should be less than or equal to 1",
        "captum:IntegratedGradients:baselines=blurred": "baselines=blurred: Input should be a valid number",
        "captum:GradientShap:stdevs=-1": "stdevs=-1: Input should be greater than or equal to 0",
        "captum:Saliency:abs=2": "abs=2: Input should be a valid boolean",
        "captum:Saliency:asked=1": "no setting 'asked'; accepted are abs",
        "captum:LayerGradCam:layer=feature.3": "no layer 'feature.3'; near matches are features.3",
        "captum:LayerGradCam:layer=head": "the layer gives [8, 1]; accepted is one of [N, C, H, W]",
        "captum:GuidedGradCam:interpolate_mode=cubic": "interpolate_mode=cubic: Input should be 'nearest'",
        "captum:Occlusion:window_size=11": "window_size=11; accepted are 1 to 10",
        "captum:Occlusion:stride=4:window_size=3": "stride=4; accepted are 1 to window_size=3",
        "captum:FeatureAblation:segment_size=11": "segment_size=11; accepted are 1 to 10",
    }.items(),
)
def test_a_mistake_is_one_line_with_what_could_be(name, message, model) -> None:
    refusal = refuse(model, name)
    assert refusal.startswith(f"methods='{name}': ")
    assert message in refusal


def test_deep_lift_refuses_the_loss(model) -> None:
    expected = "methods='captum:DeepLift': it does not explain target=loss; accepted are predicted, label"
    assert refuse(model, "captum:DeepLift", "loss") == expected


@pytest.mark.parametrize("name", ["GuidedBackprop", "Deconvolution", "GuidedGradCam"])
def test_a_network_without_relu_modules_is_refused(name, small, small_images) -> None:
    model = prepare(small, device="cpu", batch_size=8)
    message = refuse(model, f"captum:{name}", images=small_images[0])
    assert "known has no nn.ReLU module, whose gradient it would change" in message


def test_a_module_that_is_used_twice_is_refused_by_name() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.first = nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 1)
            self.head = nn.Linear(CHANNELS * HEIGHT * WIDTH, NUM_CLASSES)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.relu(self.first(self.relu(self.first(images)))).flatten(1))

    torch.manual_seed(0)
    wrapped = Classifier.wrap(Twice(), image_size=HEIGHT, channels=CHANNELS, name="twice")
    model = prepare(wrapped, device="cpu", batch_size=NUM_IMAGES)
    assert "methods='captum:DeepLift': it fails on twice: " in refuse(model, "captum:DeepLift")
