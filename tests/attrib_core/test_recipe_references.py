"""Recipes by reference: settings of our own, and users' recipes and objectives."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from attrib_core.classifiers import Classifier
from attrib_core.generation import RECIPES, PyramidSettings, find_recipe, generate, pyramid_recipe
from attrib_core.generation.objectives import CrossEntropy
from attrib_core.generation.recipe_files import recipe_digest
from attrib_core.generation.recipe_references import earlier_recipe
from attrib_core.generation.recipes import DEFAULT

Write = Callable[[str], str]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        return Classifier.wrap(nn.Sequential(network, nn.Linear(16, 5)), image_size=16, name="net")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of a user and returns its path."""

    def run(text: str) -> str:
        (tmp_path / "mine.py").write_text(f"import torch\nfrom attrib_core.generation import *\n\n\n{text}\n")
        return str(tmp_path / "mine.py")

    return run


def test_a_pyramid_takes_all_of_its_numbers() -> None:
    found = find_recipe("default:num_steps=64:rotation=10:smallest_crop=1/2")
    expected = pyramid_recipe(PyramidSettings(num_steps=64, rotation=10.0, smallest_crop=0.5))
    assert recipe_digest(found) == recipe_digest(expected)
    same = find_recipe(f"default:num_steps={DEFAULT.num_steps}")
    assert recipe_digest(same) == recipe_digest(RECIPES["default"])
    assert recipe_digest(find_recipe("fast:noise=0.3")) != recipe_digest(RECIPES["fast"])


def test_the_others_take_what_every_recipe_has() -> None:
    found = find_recipe("blur:num_steps=7:residual_gradient=0.5")
    assert (found.num_steps, found.residual_gradient) == (7, 0.5)
    assert found.stages[0].priors == RECIPES["blur"].stages[0].priors


MINE = """
def margin(logits, classes, weight: float = 1.0):
    own = logits.gather(1, classes[:, None])[:, 0]
    return weight * logits.logsumexp(1) - own


def with_images(logits, targets, images):
    return margin(logits, targets) + images.flatten(1).sum(1) * 0


def make(num_steps: int = 6):
    return pyramid_recipe(PyramidSettings(num_steps=num_steps, num_levels=2))


def make_objective():
    return lambda logits, classes: margin(logits, classes)


def noisy(logits, classes):
    return margin(logits, classes) * torch.rand(())


recipe = make(8)
objective = find_recipe("small").objective
"""


def test_what_a_file_holds_is_a_recipe(classifier, write) -> None:
    path = write(MINE)
    assert find_recipe(f"{path}:recipe").num_steps == 8
    assert find_recipe(f"{path}:make").num_steps == 6
    assert find_recipe(f"{path}:make:num_steps=4").num_steps == 4
    assert find_recipe(f"{path}:objective").objective == CrossEntropy()
    for name in ("margin", "margin:weight=2", "with_images", "make_objective", "objective"):
        recipe = find_recipe(f"{path}:{name}")
        assert recipe.stages == RECIPES["default"].stages
        assert generate(classifier, [1], recipe=recipe.with_num_steps(2)).images.isfinite().all(), name
    assert generate(classifier, [1], recipe=f"{path}:make:num_steps=4").loss_by_step.shape == (1, 4)


def test_an_objective_is_made_small(classifier, write) -> None:
    """The margin's gradient is that of cross-entropy, which is the same function."""
    path = write(MINE)
    ours = pyramid_recipe(PyramidSettings(num_steps=3))
    mine = find_recipe(f"{path}:margin")
    recipes = [type(ours)(**(vars(ours) | {"objective": each})) for each in (CrossEntropy(), mine.objective)]
    expected, found = (generate(classifier, [0, 3], recipe=recipe) for recipe in recipes)
    torch.testing.assert_close(found.loss_by_step, expected.loss_by_step, rtol=0, atol=1e-5)


def test_what_an_objective_draws_follows_from_the_cells(classifier, write) -> None:
    recipe = find_recipe(f"{write(MINE)}:noisy").with_num_steps(3)
    state = torch.get_rng_state()
    first, again, other = (
        generate(classifier, [1], recipe=recipe, sweep_seed=seed).loss_by_step for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("name", "message"),
    {
        "blurr:num_steps=3": r"recipe: unknown recipe 'blurr:num_steps=3' \(did you mean 'blur'\?\)",
        "default:num_step=3": "no setting 'num_step'; near matches are num_steps",
        "default:num_steps=0": "num_steps: 0 is not accepted; accepted: a whole number from 1",
        "default:num_steps=2.5": "num_steps=2.5: Input should be a valid integer",
        "default:smallest_crop=0": "smallest_crop: 0.0 is not accepted; accepted: a number above 0",
        "default:noise=nan": "noise: nan is not accepted",
        "default:noise=loud": "noise=loud: Input should be a valid number",
        "blur:rotation=3": "no setting 'rotation'; accepted are num_candidates, num_sketches",
        "lucid:residual_gradient=-1": "residual_gradient: -1.0 is not accepted; accepted: a number from 0",
        "nowhere.py:recipe": "recipe='nowhere.py:recipe': no file 'nowhere.py'",
        "default:more": "unknown recipe 'default:more'",
    }.items(),
)
def test_a_reference_that_cannot_be(name, message) -> None:
    with pytest.raises(ValueError, match=message):
        find_recipe(name)


@pytest.mark.parametrize(
    ("body", "message"),
    {
        "value = 3": "it gives a int; accepted is a Recipe, an objective",
        "def value(): ...": "it gives a NoneType; accepted is a Recipe",
        "def value():\n    raise OSError('no disk')": "mine.py, line 6, fails: OSError: no disk",
        "value = RECIPES['blur']": None,
        "def value(depth): ...": "it needs depth",
        "def value(*, depth: int = 1): return depth": "it gives a int",
    }.items(),
)
def test_a_name_that_is_no_recipe(body, message, write) -> None:
    path = write(body)
    if message is None:
        with pytest.raises(ValueError, match="it is no function, so that it has no settings"):
            find_recipe(f"{path}:value:num_steps=3")
        return
    with pytest.raises(ValueError, match=message):
        find_recipe(f"{path}:value")


@pytest.mark.parametrize(
    ("body", "message"),
    {
        "def value(logits, classes): ...": "mine.py, line 5, returns a NoneType; accepted is objective",
        "def value(logits, classes): return logits.sum()": r"returns values \[\] for 4 images",
        "def value(logits, classes): return logits[:, 0] * torch.nan": "returns NaN or infinite values",
        "def value(logits, classes): return classes * 1.0": "returns values that do not depend on the logits",
        "def value(logits, classes):\n    return logits[99]": "mine.py, line 6, fails: IndexError: index 99",
    }.items(),
)
def test_an_objective_that_cannot_be_names_the_line(body, message, classifier, write) -> None:
    with pytest.raises(ValueError, match=message):
        generate(classifier, [1], recipe=f"{write(body)}:value")


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("default", "df030872e23bcf2e"),
        ("fast", "aa772146e0b88985"),
        ("blur", None),
        ("best", None),
        ("defaul", None),
    ],
)
def test_what_a_name_meant_before_has_the_digest_that_it_had(text: str, digest: str | None) -> None:
    found = earlier_recipe(text)
    assert (None if found is None else recipe_digest(found)) == digest
    changed = earlier_recipe(f"{text}:num_steps=3")
    assert (None if changed is None else changed.num_steps) == (3 if digest else None)
