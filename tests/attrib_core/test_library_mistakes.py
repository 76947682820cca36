"""The library's first mistakes: each is one ValueError that names the field, the value and what is accepted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from attrib_core.attacks import attack
from attrib_core.attribution import attribute
from attrib_core.classifiers import Classifier
from attrib_core.generation import find_recipe, generate

IMAGES, LABELS = torch.full((2, 3, 16, 16), 0.5), torch.tensor([0, 1])


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A network of one fixed image size."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 256, 10))


@pytest.fixture(scope="module")
def model(network: nn.Module) -> Classifier:
    return Classifier.wrap(network, image_size=16)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda m: attack(m, IMAGES.numpy(), LABELS, "fgsm", epsilons=[0.1]), r"images: a ndarray; accepted"),
        (
            lambda m: attack(m, IMAGES, [0, 1], "fgsm", epsilons=[0.1]),
            r"labels: a list; accepted is a torch.Ten",
        ),
        (
            lambda m: attack(m, IMAGES, LABELS.bool(), "fgsm", epsilons=[0.1]),
            r"labels: torch.bool \[2\]; accepted are integers",
        ),
        (lambda m: attack(m, IMAGES, LABELS, "fgsm", epsilons=0.1), r"epsilons: a float; accepted is a list"),
        (lambda m: attribute(m, IMAGES.numpy(), LABELS, ["gradient"]), r"images: a ndarray; accepted"),
        (lambda m: attribute(m, IMAGES, [0, 1], ["gradient"]), r"labels: a list; accepted"),
        (
            lambda m: attribute(m, IMAGES, LABELS, "gradient"),
            r"methods: 'gradient' is text; accepted is a list",
        ),
    ],
)
def test_a_mistake_is_named(model: Classifier, run: Callable[[Classifier], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(model)


@pytest.mark.parametrize(
    "run",
    [
        lambda net: attack(net, IMAGES, LABELS, "fgsm", epsilons=[0.1]),
        lambda net: attribute(net, IMAGES, LABELS, ["gradient"]),
        lambda net: generate(net, classes=[1]),
    ],
)
def test_a_network_that_is_not_wrapped_is_named(network: nn.Module, run: Callable[[nn.Module], Any]) -> None:
    with pytest.raises(ValueError, match=r"model: a Sequential; accepted is Classifier.wrap\(network, ...\)"):
        run(network)


def test_a_network_of_one_size_generates_with_views_of_other_sizes(model: Classifier) -> None:
    recipe = find_recipe("default").with_num_steps(16)
    pictures = generate(model, classes=[1], recipe=recipe)
    assert pictures.images.shape == (1, 3, 16, 16)
    assert pictures.logit_by_step[0, -4:].mean() > pictures.logit_by_step[0, :4].mean()


def test_images_in_float64_are_welcome(model: Classifier) -> None:
    found = attack(model, IMAGES.double(), LABELS, "fgsm", epsilons=[0.1])
    assert torch.equal(
        found.adversarial_images, attack(model, IMAGES, LABELS, "fgsm", epsilons=[0.1]).adversarial_images
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_may_be_integers_of_any_width(model: Classifier, dtype: torch.dtype) -> None:
    expected = attack(model, IMAGES, LABELS, "pgd", epsilons=[0.1])
    found = attack(model, IMAGES, LABELS.to(dtype), "pgd", epsilons=[0.1])
    assert torch.equal(found.adversarial_images, expected.adversarial_images)
