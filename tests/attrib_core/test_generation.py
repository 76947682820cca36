"""The ascent on the real model at small sizes: formulas, independence of the batch, every recipe."""

import copy

import pytest
import torch
import torch.nn.functional as F

from attrib_core.classifiers import with_folded_batch_norms
from attrib_core.generation import RECIPES, Cell, evaluate, find_recipe, generate, generate_batch, to_8_bits
from attrib_core.generation.recipe import Recipe, Schedule, Stage, constant
from attrib_core.generation.recipes import adam
from attrib_core.prepared import prepare
from attrib_core.seeding import generator

SIZE = 64
LION, PENCIL_BOX, BEE = 291, 709, 309


def run(lite0, recipe, cells, batch_size=4, **changes):
    settings = {"sweep_seed": 0, "image_size": SIZE} | changes
    return generate_batch(prepare(lite0, device="cpu", batch_size=batch_size), recipe, cells, **settings)


def test_plain_descends_the_documents_formula(lite0) -> None:
    """Two steps written out in float64: a - 0.15 * gradient of |200 - logit| + 0.001 * sum |a|."""
    exact = copy.deepcopy(lite0).double()
    image = torch.rand(3, SIZE, SIZE, generator=generator(0, LION, 5, -1))[None].double() / 25 + 0.5
    logits = []
    for _ in range(2):
        image = image.detach().requires_grad_()
        logit = exact(image)[0, LION]
        loss = (200 - logit).abs() + 0.001 * image.abs().sum()
        image = image - 0.15 * torch.autograd.grad(loss, image)[0]
        logits.append(logit.item())
    generated = run(lite0, find_recipe("plain").with_num_steps(2), [Cell(LION, 5)])
    torch.testing.assert_close(generated.images, image.detach().clamp(0, 1).float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generated.logit_by_step[0], torch.tensor(logits), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_finite_images_of_the_size_asked_for(lite0, name) -> None:
    recipe = find_recipe(name).with_num_steps(6)
    generated = run(lite0, recipe, [Cell(LION, 0), Cell(BEE, 1)])
    assert generated.images.shape == (2, 3, SIZE, SIZE)
    assert generated.images.isfinite().all()
    assert generated.images.min() >= 0
    assert generated.images.max() <= 1
    assert generated.logit_by_step.shape == (2, recipe.num_steps)


@pytest.mark.parametrize("name", RECIPES)
def test_an_image_is_the_same_alone_and_among_others(lite0, name) -> None:
    recipe = find_recipe(name).with_num_steps(4)
    cells = [Cell(PENCIL_BOX, 3), Cell(LION, 0), Cell(LION, 1), Cell(BEE, 0), Cell(BEE, 1)]
    together = run(lite0, recipe, cells, batch_size=8)
    alone = run(lite0, recipe, cells[1:2], batch_size=8)
    assert torch.equal(together.images[1], alone.images[0])
    assert torch.equal(together.logit_by_step[1], alone.logit_by_step[0])


def test_class_seed_and_sweep_seed_each_change_the_image(lite0) -> None:
    recipe = find_recipe("blur").with_num_steps(2)
    images = run(lite0, recipe, [Cell(LION, 0), Cell(LION, 1), Cell(BEE, 0)]).images
    other = run(lite0, recipe, [Cell(LION, 0)], sweep_seed=1).images
    variants = [*images, other[0]]
    assert all(not torch.equal(variants[i], variants[j]) for i in range(4) for j in range(i))


# On small networks test_any_network.py shows it of every recipe.
@pytest.mark.parametrize(
    "name",
    ["default", "fast", *(pytest.param(name, marks=pytest.mark.long) for name in ("lucid", "blur"))],
)
def test_the_targets_logit_rises(lite0, name) -> None:
    recipe = find_recipe(name).with_num_steps(24)
    generated = run(lite0, recipe, [Cell(LION, 0), Cell(BEE, 0)], image_size=128)
    assert (generated.logit_by_step[:, -4:].mean(1) > generated.logit_by_step[:, :4].mean(1) + 2).all()


def test_observers_see_the_start_and_every_update(lite0) -> None:
    seen = []
    recipe = find_recipe("blur_resize").with_num_steps(5)
    generated = run(
        lite0, recipe, [Cell(LION, 0)], observe=lambda step, images: seen.append((step, images.clone()))
    )
    assert [step for step, _ in seen] == [0, 1, 2, 3, 4, 5]
    assert all(images.shape == (1, 3, SIZE, SIZE) for _, images in seen)
    torch.testing.assert_close(seen[-1][1].clamp(0, 1), generated.images)


def test_octaves_keep_their_order_in_any_number_of_steps() -> None:
    octaves = find_recipe("octaves")
    assert octaves.num_steps == 375
    assert [stage.num_steps for stage in octaves.with_num_steps(30).stages] == [12, 8, 8, 2]
    assert octaves.with_num_steps(7).num_steps == 7


def test_schedules_start_and_end_where_they_say() -> None:
    for shape in ("linear", "cosine"):
        schedule = Schedule(0.4, 0.1, shape)
        assert (schedule(0.0), schedule(0.5), schedule(1.0)) == pytest.approx((0.4, 0.25, 0.1))


def test_two_stages_can_share_one_schedule() -> None:
    whole = Schedule(0.4, 0.1, "cosine")
    first, second = (Schedule(0.4, 0.1, "cosine", span) for span in ((0.0, 0.25), (0.25, 1.0)))
    assert first(1.0) == second(0.0) == pytest.approx(whole(0.25))


def test_priors_on_a_parameterisation_that_has_no_pixels_are_refused() -> None:
    stage = Stage(num_steps=1, step_size=constant(0.1), priors=find_recipe("blur").stages[0].priors)
    with pytest.raises(ValueError, match="Pixels"):
        Recipe(
            parameterization=find_recipe("lucid").parameterization,
            objective=find_recipe("lucid").objective,
            optimizer=adam,
            stages=(stage,),
        )


def test_an_unknown_recipe_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'blurr' \(did you mean 'blur'\?\)"):
        find_recipe("blurr")


def test_evaluation_is_that_of_the_stored_8_bit_image(lite0) -> None:
    images = to_8_bits(torch.rand(2, 3, SIZE, SIZE, generator=generator(1)))
    targets = torch.tensor([LION, BEE])
    model = prepare(lite0, device="cpu", batch_size=4)
    facts = evaluate(model, {"itself": model}, images, targets)
    logits = lite0(images.float() / 255).detach()
    torch.testing.assert_close(facts.model.logits, logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        facts.probability, F.softmax(logits, 1)[[0, 1], [LION, BEE]], rtol=1e-3, atol=1e-6
    )
    assert facts.model.top1.tolist() == logits.argmax(1).tolist()
    resized = lite0(lite0.resize(images.float() / 255)).argmax(1)
    assert facts.judges["itself"].top1.tolist() == resized.tolist()


def test_the_library_generates_class_by_class_and_seed_by_seed(lite0) -> None:
    recipe = find_recipe("plain").with_num_steps(2)
    found = generate(lite0, classes=[LION, BEE], seeds=[0, 3], recipe=recipe, image_size=SIZE)
    assert found.images.shape == (4, 3, SIZE, SIZE)
    model = prepare(with_folded_batch_norms(lite0), device="cpu", batch_size=4)
    cells = [Cell(LION, 0), Cell(LION, 3), Cell(BEE, 0), Cell(BEE, 3)]
    expected = generate_batch(model, recipe, cells, sweep_seed=0, image_size=SIZE)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.logit_by_step, expected.logit_by_step)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": [1000]}, r"classes: 1000; efficientnet_lite0 has classes 0 to 999"),
        ({"classes": []}, r"classes, seeds: there are none"),
        ({"seeds": [-1]}, r"seeds: -1; accepted are 0 and more"),
        ({"recipe": "blurr"}, r"unknown recipe 'blurr' \(did you mean 'blur'\?\)"),
    ],
)
def test_a_library_request_that_cannot_be(lite0, changed, message) -> None:
    with pytest.raises(ValueError, match=message):
        generate(lite0, **({"classes": [LION], "recipe": "plain"} | changed))
