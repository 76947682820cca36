"""Images of units: closed forms, independence of the batch, members unlike each other, what recipes keep."""

import re
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from attrib_core.classifiers import Classifier, with_folded_batch_norms
from attrib_core.generation import (
    RECIPES,
    UnitCell,
    UnitTask,
    find_recipe,
    generate_unit_cells,
    generate_units,
    recipe_of_units,
    to_8_bits,
)
from attrib_core.generation.batch_state import START
from attrib_core.generation.diversity import diversity_losses, gram_similarity
from attrib_core.generation.objectives import (
    CrossEntropy,
    L1Norm,
    Logit,
    MeanVariation,
    Objective,
    TotalVariation,
)
from attrib_core.generation.unit_evaluation import evaluate_units
from attrib_core.generation.unit_images import gives_the_same
from attrib_core.prepared import prepare
from attrib_core.seeding import generator
from attrib_core.units import UnitName, find_layer

SIZE = 16


def colours() -> nn.Module:
    """A network whose first layer gives red, and blue minus green."""
    convolution = nn.Conv2d(3, 2, 1, bias=False)
    convolution.weight.data = torch.tensor([[1.0, 0, 0], [0, -1, 1]]).view(2, 3, 1, 1)
    return nn.Sequential(convolution, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 5))


def centred() -> nn.Module:
    """A network whose first layer gives the colours, 0 where they are grey."""
    convolution = nn.Conv2d(3, 3, 1)
    convolution.weight.data, convolution.bias.data = torch.eye(3).view(3, 3, 1, 1), torch.full((3,), -0.5)
    return nn.Sequential(convolution, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5))


def convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh()),
        *(nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(24, 5)),
    )


@pytest.fixture(scope="module")
def classifiers() -> dict[str, Classifier]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = {"colours": colours(), "centred": centred(), "convolutions": convolutions()}
        nn.init.normal_(made["convolutions"][1].running_mean)
        nn.init.uniform_(made["convolutions"][1].running_var, 1, 4)
        return {name: Classifier.wrap(net, image_size=SIZE) for name, net in made.items()}


def test_plain_descends_the_closed_form_of_a_mean_colour(classifiers) -> None:
    """An update adds 0.15 · (weight / P − 0.001 · sign(a)): the activation's gradient, and the L1 norm's."""
    found = generate_units(classifiers["colours"], "0:1", seeds=[7], recipe="plain:num_steps=3")["0"]
    start = torch.rand(3, SIZE, SIZE, generator=generator(0, "0", "1", 7, 0, START)) / 25 + 0.5
    weights = torch.tensor([0.0, -1, 1]).view(3, 1, 1)
    images = start + 3 * 0.15 * (weights / SIZE**2 - 0.001)
    torch.testing.assert_close(found.images[0], images, rtol=0, atol=1e-5)
    by_step = [(start[2] - start[1]).mean() + 2 * 0.15 * step / SIZE**2 for step in range(3)]
    torch.testing.assert_close(found.activation_by_step[0], torch.stack(by_step))


def test_an_evaluation_is_of_the_stored_pixels(classifiers) -> None:
    model = prepare(classifiers["colours"], device="cpu", batch_size=2)
    layer = find_layer("units", model, "0", SIZE)
    images = to_8_bits(torch.rand(3, 3, SIZE, SIZE, generator=generator(1)))
    directions = {"f#d": torch.tensor([[2.0, 1.0]]).numpy()}
    units = [UnitName(0), UnitName(1, center=True), UnitName(0, "f#d")]
    found = evaluate_units(model, layer, units, directions, images)
    red, green, blue = (images[:, channel].float() / 255 for channel in range(3))
    middle = (blue - green)[1, SIZE // 2, SIZE // 2]
    expected = torch.stack([red[0].mean(), middle, (2 * red + blue - green)[2].mean()])
    torch.testing.assert_close(found.activation, expected)
    assert torch.equal(found.top1, classifiers["colours"](images.float() / 255).argmax(1))


def test_directions_are_dot_products_with_the_means_of_channels(classifiers) -> None:
    """The direction of one channel alone makes its image, apart from the random numbers of its name."""
    directions = {"mix": torch.tensor([[1.0, 0.0], [3.0, -2.0]])}
    found = generate_units(classifiers["colours"], "0:mix", recipe="plain:num_steps=1", directions=directions)
    start = torch.rand(3, SIZE, SIZE, generator=generator(0, "0", "mix:1", 0, 0, START)) / 25 + 0.5
    red, green, blue = start.mean((1, 2))
    torch.testing.assert_close(found["0"].activation_by_step[1, 0], 3 * red - 2 * (blue - green))


def task_of(classifier: Classifier, layer: str, **changes) -> tuple:
    model = prepare(classifier, device="cpu", batch_size=8)
    settings = {
        "layer": find_layer("units", model, layer, SIZE),
        "directions": {"f#d": torch.eye(6)[:2].numpy()},
        "recipe": recipe_of_units(find_recipe("default:num_steps=4"), "recipe"),
        "image_size": SIZE,
    }
    return model, UnitTask(**settings | changes)


@pytest.mark.parametrize("num_members", [1, 3])
def test_a_cell_is_the_same_alone_and_among_others_bit_for_bit(classifiers, num_members) -> None:
    model, task = task_of(classifiers["convolutions"], "3", num_members=num_members)
    units = [UnitName(0), UnitName(5, center=True), UnitName(1, "f#d"), UnitName(2)]
    cells = [UnitCell(unit, seed) for unit, seed in zip(units, (0, 3, 0, 1), strict=True)]
    cells = cells[: 8 // num_members]
    together = generate_unit_cells(model, task, cells)
    for place, cell in enumerate(cells):
        alone = generate_unit_cells(model, task, [cell])
        rows = slice(place * num_members, (place + 1) * num_members)
        assert torch.equal(together.images[rows], alone.images)
        assert torch.equal(together.loss_by_step[rows], alone.loss_by_step)


def test_layer_unit_seed_member_and_sweep_seed_each_change_the_image(classifiers) -> None:
    classifier = classifiers["convolutions"]
    recipe, images = "plain:num_steps=1", []
    for layer, unit, seed, sweep_seed in (
        ("3", 0, 0, 0),
        ("4", 0, 0, 0),
        ("3", 1, 0, 0),
        ("3", 0, 1, 0),
        ("3", 0, 0, 1),
    ):
        found = generate_units(classifier, f"{layer}:{unit}", [seed], recipe, sweep_seed=sweep_seed)
        images.append(found[layer].images[0])
    images.append(generate_units(classifier, "3:0", recipe=recipe, num_members=2)["3"].images[1])
    assert all(not torch.equal(images[i], images[j]) for i in range(6) for j in range(i))


@pytest.mark.parametrize("units", ["3:2", "3:2:center", "7:2"])
def test_the_activation_rises(classifiers, units) -> None:
    found = generate_units(classifiers["convolutions"], units, recipe="lucid:num_steps=24")
    (activation,) = found[units[0]].activation_by_step
    assert activation[-4:].mean() > activation[:4].mean()


@pytest.mark.parametrize(("layer", "same"), [("0", False), ("1", True), ("2", True), ("3", True)])
def test_a_convolution_is_looked_at_before_its_batch_norm(classifiers, layer, same) -> None:
    plain, folded = (
        prepare(each, device="cpu", batch_size=4)
        for each in (classifiers["convolutions"], with_folded_batch_norms(classifiers["convolutions"]))
    )
    assert plain.classifier is not folded.classifier
    assert gives_the_same(plain, folded, find_layer("units", plain, layer, SIZE), SIZE) == same


def test_a_layer_within_a_batch_norm_is_looked_at_where_it_is() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (
            nn.Conv2d(3, 4, 3),
            BatchNormAct2d(4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 2),
        )
        classifier = Classifier.wrap(nn.Sequential(*layers), image_size=SIZE)
    found = generate_units(classifier, "1.act:0", recipe="plain:num_steps=2")
    assert found["1.act"].activation_by_step.shape == (1, 2)


def lucid_diversity(output: Tensor) -> Tensor:
    """Return lucid's objective `diversity` of `[N, C, h, w]`, written as there, with its sign turned."""
    flattened = output.flatten(2)
    grams = torch.matmul(flattened, flattened.transpose(1, 2))
    grams = grams / grams.flatten(1).norm(dim=1)[:, None, None]
    batch = len(output)
    return sum((grams[i] * grams[j]).sum() for i in range(batch) for j in range(batch) if j != i) / batch


def test_similarity_is_that_of_lucid_by_group_and_its_mean_over_the_other_members() -> None:
    output = torch.randn(2, 3, 5, 4, 4, generator=generator(2))
    found = gram_similarity(output.flatten(3))
    for group in range(2):
        torch.testing.assert_close(found[group].mean() * (3 - 1), lucid_diversity(output[group]))
    activations = torch.tensor([1.0, -2, 3, 4, 5, 6, 7])
    losses = diversity_losses(torch.cat([output.flatten(0, 1), output[0, :1]]).flatten(2), activations, 3)
    torch.testing.assert_close(losses, torch.cat([activations[:6].abs() * found.flatten(), torch.zeros(1)]))


def test_members_are_less_alike_than_images_of_several_seeds(classifiers) -> None:
    classifier, recipe = classifiers["centred"], "lucid:num_steps=32"
    members = generate_units(classifier, "0:0", recipe=recipe, num_members=4)["0"]
    seeds = generate_units(classifier, "0:0", seeds=range(4), recipe=recipe)["0"]
    alike = [
        gram_similarity(classifier.network[0](each.images).flatten(2)[None]).mean()
        for each in (members, seeds)
    ]
    assert alike[0] < 0.5 < 0.9 < alike[1]
    assert (members.activation_by_step[:, -1] > 0).all()


def test_units_keep_the_terms_of_the_image_and_the_part_that_raises_the_logit() -> None:
    assert (0.5 * Logit() + 0.5 * CrossEntropy()).of_units() == 0.5 * Logit() + 0.5 * Logit()
    kept = RECIPES["softmax_loss"].objective.of_units()
    assert kept == RECIPES["plain"].objective.of_units() == Logit() + 0.001 * L1Norm()
    assert str(kept) == "Logit + 0.001 · L1Norm"
    assert (2.0 * TotalVariation()).of_units() == 2.0 * TotalVariation()


def test_a_term_that_was_weighed_against_logits_follows_the_activation() -> None:
    images, activations = torch.rand(2, 3, 8, 8, generator=generator(3)), torch.tensor([[0.06], [-3.0]])
    weighed = (Logit() + 0.7 * MeanVariation()).of_units()
    found = weighed(activations.requires_grad_(), torch.zeros(2, dtype=torch.int64), images)
    variation = MeanVariation()(activations, activations, images)
    torch.testing.assert_close(found, -activations[:, 0] + 0.7 * torch.tensor([0.002, 0.1]) * variation)
    (gradient,) = torch.autograd.grad(found.sum(), activations)
    assert torch.equal(gradient, -torch.ones(2, 1))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_finite_images_of_units(classifiers, name) -> None:
    recipe = find_recipe(name).with_num_steps(2 * len(RECIPES[name].stages))
    found = generate_units(classifiers["convolutions"], "4:0,7:1", recipe=recipe)
    for images in (each.images for each in found.values()):
        assert images.shape == (1, 3, SIZE, SIZE)
        assert images.isfinite().all()


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=[4, 4], num_classes=5
    )


@pytest.mark.parametrize(
    ("make", "units"),
    [
        (lambda: timm.create_model("test_vit3", num_classes=5, img_size=32), "blocks.0:0,blocks.0:1:center"),
        (lambda: timm.create_model("test_resnet", num_classes=5), "layer2:0:center,fc:1"),
        (swin, "features.1.0:0,features.1.0:7:center,head:4"),
    ],
    ids=["tokens", "maps", "channels last"],
)
def test_units_of_any_kind_of_network_rise_in_views_of_any_size(make, units) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier.wrap(make(), image_size=32)
    for found in generate_units(classifier, units, recipe="lucid:num_steps=10").values():
        assert found.images.isfinite().all()
        by_step = found.activation_by_step
        assert (by_step[:, -4:].mean(1) > by_step[:, :2].mean(1)).all()


class Own(Objective):
    """A user's objective of logits."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"recipe": replace(RECIPES["default"], objective=Own())},
            "recipe: Own is made for logits of classes",
        ),
        ({"seeds": []}, r"seeds: \[\]; accepted are whole numbers from 0"),
        ({"seeds": [-1]}, r"seeds: \[-1\]"),
        ({"num_members": 0}, "num_members=0: accepted are whole numbers from 1"),
        ({"image_size": 4}, "image_size=4: accepted are whole numbers from 8"),
        ({"units": 3}, "units: a int; accepted is text"),
        (
            {"units": "0:mine", "directions": {"mine": torch.ones(3)}},
            r"mine has directions of 3 numbers, layer '0' gives \[N, C=2, 16, 16\]; accepted are directions",
        ),
        (
            {"units": "0:mine", "directions": {"mine": torch.ones(2, 2, dtype=torch.int64)}},
            r"directions\['mine'\] is int64 \[2, 2\]; accepted are floats",
        ),
    ],
)
def test_a_mistake_in_a_call_is_named(classifiers, arguments, message) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        generate_units(classifiers["colours"], **{"units": "0:1"} | arguments)
    assert re.search("accepted", str(refused.value))


def test_a_prepared_models_passes_hold_all_members(classifiers) -> None:
    model = prepare(classifiers["colours"], device="cpu", batch_size=4)
    with pytest.raises(ValueError, match="num_members=5: the model's passes have 4 images"):
        generate_units(model, "0:1", num_members=5)
