"""Attacks, attribution and generation on networks as people have them: fixed sizes, any channels, one logit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from attrib_core.attacks import attack
from attrib_core.attribution import attribute
from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.generation import (
    RECIPES,
    Cell,
    Evaluation,
    Recipe,
    evaluate,
    find_recipe,
    generate,
    generate_batch,
)
from attrib_core.generation.modification import ModificationSettings, modify
from attrib_core.generation.parameterizations import correlate_colours
from attrib_core.prepared import PreparedModel, prepare


def pooled(channels: int, num_classes: int) -> nn.Module:
    """A network of any image size."""
    layers = (nn.Conv2d(channels, 8, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    head = nn.Linear(32, num_classes)
    nn.init.normal_(head.weight, std=3)  # gradients that weigh more than the priors
    return nn.Sequential(*layers, head)


def flat(side: int) -> nn.Module:
    """A network of one image size, 3 channels and 10 classes."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * side**2, 10))


def at_least(side: int) -> nn.Module:
    """A network that fails on smaller images, as Inception does below 75 pixels."""

    class Demanding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = pooled(3, 5)

        def forward(self, images: Tensor) -> Tensor:
            if images.shape[-1] < side:
                raise RuntimeError("Calculated output size is too small")
            logits: Tensor = self.network(images)
            return logits

    return Demanding()


def vision_transformer() -> nn.Module:
    network = torchvision.models.vision_transformer.VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=10
    )
    nn.init.normal_(network.heads.head.weight)  # torchvision's own start is all zeros
    return network


def vgg_without_batch_norm() -> nn.Module:
    layers = torchvision.models.vgg.make_layers([8, 8, "M", 16, 16, "M"])
    return nn.Sequential(layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10))


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=[4, 4], num_classes=10
    )


NETWORKS: dict[str, Callable[[], Classifier]] = {
    "torchvision's ViT": lambda: Classifier.wrap(vision_transformer(), image_size=32),
    "timm's ViT": lambda: Classifier.wrap(
        timm.create_model("test_vit3", num_classes=10, img_size=32), image_size=32
    ),
    "timm's ResNet": lambda: Classifier.wrap(
        timm.create_model("test_resnet", num_classes=10), image_size=32, mean=(0.5,) * 3, std=(0.2,) * 3
    ),
    "one size": lambda: Classifier.wrap(flat(32), image_size=32),
    "not below 25 pixels": lambda: Classifier.wrap(at_least(25), image_size=64),
    "fashion_deep": lambda: load_classifier("fashion_deep"),
    "one logit": lambda: Classifier.wrap(pooled(3, 1), image_size=32),
    "1 channel": lambda: Classifier.wrap(pooled(1, 3), image_size=32),
    "2 channels": lambda: Classifier.wrap(pooled(2, 3), image_size=32),
    "4 channels": lambda: Classifier.wrap(pooled(4, 3), image_size=32),
    "8 x 8 pixels": lambda: Classifier.wrap(pooled(1, 10), image_size=8),
}


@pytest.fixture(scope="module", params=NETWORKS)
def model(request: pytest.FixtureRequest) -> PreparedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return prepare(NETWORKS[request.param](), device="cpu", batch_size=4)


def shortened(recipe: Recipe, most: int = 8) -> Recipe:
    """The recipe with every stage, but few steps in each."""
    stages = tuple(replace(stage, num_steps=min(stage.num_steps, most)) for stage in recipe.stages)
    return replace(recipe, stages=stages)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_works_on_every_network(model: PreparedModel, name: str) -> None:
    recipe_works(model, name)


@pytest.mark.parametrize("name", ["default", "fast"])
@pytest.mark.parametrize("make", [vgg_without_batch_norm, swin])
def test_the_best_recipes_work_without_batch_norm_or_residual_branches_and_on_windows(
    make: Callable[[], nn.Module], name: str
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
    recipe_works(prepare(Classifier.wrap(network, image_size=32), device="cpu", batch_size=4), name)


def recipe_works(model: PreparedModel, name: str) -> None:
    """The images are finite and in [0, 1], and lower the recipe's own objective below that of the start."""
    recipe, targets, seen = shortened(RECIPES[name]), torch.tensor([0, 1]), []
    made = generate_batch(
        model,
        recipe,
        [Cell(0, 0), Cell(1, 0)],
        sweep_seed=0,
        image_size=model.classifier.image_size,
        observe=lambda _step, images: seen.append(images.clone()),
    )
    size = model.classifier.image_size
    assert made.images.shape == (2, model.classifier.channels, size, size)
    assert made.images.isfinite().all()
    assert 0 <= made.images.min() <= made.images.max() <= 1
    assert made.logit_by_step.isfinite().all()
    if name != "noise_long":  # the original work's failing method: steps of 10,000 times the gradient
        first, last = (
            recipe.objective(model.logits(images), targets, images) for images in (seen[0], seen[-1])
        )
        assert (last < first)[-1:].all()  # class 0 of one logit is a constant 0


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["default", "fast"])
@pytest.mark.parametrize("make", [lambda: timm.create_model("test_resnet"), vgg_without_batch_norm, swin])
def test_all_steps_of_the_best_recipes_stay_finite(make: Callable[[], nn.Module], recipe: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
    model = prepare(Classifier.wrap(network, image_size=32), device="cpu", batch_size=1)
    made = generate(model, classes=[1], seeds=[0], recipe=recipe)
    assert made.images.shape == (1, 3, 32, 32)
    assert made.images.isfinite().all()
    assert 0 <= made.images.min() < made.images.max() <= 1


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        # Of views of 16, 23, 32 and 64 pixels.
        ("torchvision's ViT", [32, 32, 32, 32]),
        ("one size", [32, 32, 32, 32]),
        ("timm's ResNet", [16, 23, 32, 64]),
        ("not below 25 pixels", [32, 46, 32, 64]),
        ("fashion_deep", [28, 28, 28, 28]),
    ],
)
def test_views_get_a_size_that_the_network_takes(name: str, sides: list[int]) -> None:
    model = prepare(NETWORKS[name](), device="cpu", batch_size=4)
    assert [model.view_size(side) for side in (16, 23, 32, 64)] == sides


def test_a_refused_view_is_doubled_before_it_gets_the_networks_own_size() -> None:
    model = prepare(Classifier.wrap(at_least(25), image_size=64), device="cpu", batch_size=4)
    assert [model.view_size(side) for side in (8, 13, 24, 25)] == [32, 26, 48, 25]


def test_a_network_of_one_size_sees_its_views_enlarged_and_the_gradient_flows() -> None:
    """One step of a recipe at half the size equals the same step written out."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier.wrap(flat(32), image_size=32)
    model = prepare(classifier, device="cpu", batch_size=4)
    plain = find_recipe("plain")
    halved = replace(plain, stages=(replace(plain.stages[0], num_steps=1),))
    made = generate_batch(model, halved, [Cell(1, 0)], sweep_seed=0, image_size=16)
    [start] = plain.parameterization.initial(_randomness(), 16)
    start.requires_grad_()
    large = F.interpolate(start, (32, 32), mode="bilinear", antialias=True)
    logit = classifier(large)[0, 1]
    gradient = torch.autograd.grad((200 - logit).abs() + 0.001 * start.abs().sum(), start)[0]
    torch.testing.assert_close(made.images, (start.detach() - 0.15 * gradient).clamp(0, 1))
    torch.testing.assert_close(made.logit_by_step[0, 0], logit.detach())


def _randomness() -> Any:
    from attrib_core.generation.batch_state import START
    from attrib_core.seeding import Randomness

    return Randomness([(0, 1, 0, START)])


def test_a_network_of_any_size_sees_every_view_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it made before views could be resized, it makes now, bit for bit."""
    model = prepare(NETWORKS["timm's ResNet"](), device="cpu", batch_size=4)

    def made(recipe: str) -> Tensor:
        short = shortened(find_recipe(recipe))
        return generate_batch(model, short, [Cell(1, 0)], sweep_seed=0, image_size=32).images

    found = {recipe: made(recipe) for recipe in ("default", "lucid", "blur_resize")}
    monkeypatch.setattr(PreparedModel, "view_size", lambda self, side: side)
    assert all(torch.equal(made(recipe), images) for recipe, images in found.items())


def test_channels_that_are_no_colours_are_only_scaled() -> None:
    images = torch.rand(2, 4, 8, 8)
    assert torch.equal(correlate_colours(images), 0.6 * images)
    noise = torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        correlate_colours(noise).std((2, 3)), torch.full((1, 3), 0.6), rtol=0.05, atol=0
    )


# One logit


@pytest.fixture(scope="module")
def binary() -> tuple[nn.Linear, Classifier]:
    """Weights of one logit on grey images of 4 x 4, and the classifier."""
    layer = nn.Linear(16, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(1, 16, generator=torch.Generator().manual_seed(0)))
    return layer, Classifier.wrap(nn.Sequential(nn.Flatten(), layer), image_size=4)


IMAGES = 0.5 + 0.1 * torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 0, 1, 1, 0])


def test_fast_gradient_signs_on_one_logit_are_those_of_binary_cross_entropy(binary) -> None:
    layer, classifier = binary
    points = IMAGES.clone().requires_grad_()
    loss = F.binary_cross_entropy_with_logits(layer(points.flatten(1))[:, 0], LABELS.float(), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, points)
    found = attack(classifier, IMAGES, LABELS, "fgsm", epsilons=[0.05])
    expected = IMAGES + 0.05 * gradient.sign()
    torch.testing.assert_close(found.adversarial_images[:, 0], expected)
    # By hand: the logit moves by epsilon times the weights' l1 norm, away from the label.
    moved = layer(expected.flatten(1))[:, 0] - layer(IMAGES.flatten(1))[:, 0]
    torch.testing.assert_close(moved, 0.05 * layer.weight.abs().sum() * (1 - 2 * LABELS))
    assert torch.equal(found.clean.prediction, (layer(IMAGES.flatten(1))[:, 0] > 0).long())


def test_the_minimum_epsilon_on_one_logit_is_the_logit_over_the_weights_norm(binary) -> None:
    layer, classifier = binary
    z = layer(IMAGES.flatten(1)).detach()[:, 0]
    found = attack(classifier, IMAGES, (z > 0).long(), "minimum_fgsm", epsilons=[0.0])
    expected = (z.abs() / layer.weight.abs().sum()).double()
    torch.testing.assert_close(found.epsilons[:, 0], expected, rtol=1e-3, atol=1e-4, check_dtype=False)


def test_attribution_and_modification_of_one_logit(binary) -> None:
    layer, classifier = binary
    ones = torch.ones(6, dtype=torch.long)
    maps = attribute(classifier, IMAGES, ones, ["gradient", "integrated_gradients"], target="label")
    expected = layer.weight.detach().view(1, 1, 4, 4).expand(6, -1, -1, -1)
    torch.testing.assert_close(maps.values["gradient"], expected)
    changed = modify(classifier, IMAGES, ones, settings=ModificationSettings(num_steps=3))
    torch.testing.assert_close(changed.images, (IMAGES + 0.03 * (expected - 0.001).sign()).clamp(0, 1))


def test_generation_finds_the_sign_of_one_logits_weights(binary) -> None:
    layer, classifier = binary
    classifier = Classifier.wrap(
        nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), layer), image_size=8, channels=1
    )
    pictures = generate(classifier, classes=[1], recipe=find_recipe("sign").with_num_steps(300)).images
    cells = F.avg_pool2d(pictures, 2)[0, 0].flatten()
    assert torch.equal(cells > 0.5, layer.weight[0] > 0)


# Judges


def verdict(images: Tensor, channels: int) -> Evaluation:
    maker = prepare(Classifier.wrap(pooled(images.shape[1], 5), image_size=16), device="cpu", batch_size=4)
    judge = prepare(Classifier.wrap(pooled(channels, 5), image_size=16), device="cpu", batch_size=4)
    evaluation = evaluate(maker, {"judge": judge}, images, torch.tensor([0, 1]))
    grey = (torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1) * images / 255).sum(1, keepdim=True)
    seen = images.expand(-1, 3, -1, -1) / 255 if channels == 3 else grey
    torch.testing.assert_close(evaluation.judges["judge"].logits, judge.logits(seen))
    return evaluation


def test_a_judge_of_colours_sees_grey_as_colour_and_a_judge_of_grey_sees_colours_as_grey() -> None:
    pixels = torch.randint(256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    verdict(pixels[:, :1], channels=3)
    verdict(pixels, channels=1)


def test_a_judge_of_other_channels_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"judges: 'judge' takes 4 channels, the images have 1; accepted are"
    ):
        verdict(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), channels=4)


# Sizes that are refused


@pytest.mark.parametrize(
    "run",
    [
        lambda model, images: attack(model, images, LABELS[:2], "fgsm", epsilons=[0.1]),
        lambda model, images: attribute(model, images, LABELS[:2], ["gradient"]),
        lambda model, images: attribute(model, images, LABELS[:2], ["occlusion"]),
        lambda model, images: modify(model, images, LABELS[:2], settings=ModificationSettings()),
    ],
    ids=["attack", "attribute", "occlude", "modify"],
)
@pytest.mark.parametrize("name", ["torchvision's ViT", "one size"])
def test_images_of_a_size_that_the_network_does_not_take_are_named(name: str, run) -> None:
    message = (
        r"images: 28 x 28 pixels, on which \w+ fails; accepted is its image_size, 32 x 32 \(\w+Error: .*\)$"
    )
    with pytest.raises(ValueError, match=message):
        run(NETWORKS[name](), torch.full((2, 3, 28, 28), 0.5))


def test_a_failure_at_the_networks_own_size_stays_as_it_is() -> None:
    model = prepare(Classifier.wrap(flat(32), image_size=32), device="cpu", batch_size=4)
    model.classifier.network[0].weight.data = torch.zeros(4, 2, 3, 3)
    with pytest.raises(RuntimeError, match="channels"):
        model(torch.zeros(1, 3, 32, 32))


def test_memory_that_runs_out_on_another_size_is_no_refusal() -> None:
    class Full(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if images.shape[-1] < 8:
                raise torch.OutOfMemoryError("injected")
            return images.mean((2, 3))

    model = prepare(Classifier.wrap(Full(), image_size=8), device="cpu", batch_size=4)
    with pytest.raises(torch.OutOfMemoryError):
        model.view_size(4)


@pytest.mark.parametrize("size", [0, -1, 4, 7])
def test_an_image_too_small_for_the_priors_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"image_size={size}: accepted are whole numbers from 8"):
        generate(Classifier.wrap(pooled(1, 3), image_size=8), classes=[0], image_size=size)
