"""The library's functions as notebooks call them: wrong arguments are named, torch's modes do not matter."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch

from attrib_core.attacks import attack
from attrib_core.attribution import attribute
from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.generation import generate

RECIPE = "plain:num_steps=2"
IMAGES, LABELS = torch.full((2, 1, 28, 28), 0.5), torch.tensor([1, 2])
LISTED = "is a list of whole numbers"
MISTAKES = {
    "ε as text": (attack, {"epsilons": ["1/255"]}, r"epsilons: '1/255'; accepted are numbers in \[0, 1\]"),
    "nested ε": (attack, {"epsilons": [[0.1]]}, r"epsilons: \[0.1\]; accepted"),
    "no ε": (attack, {"epsilons": [None]}, "epsilons: None; accepted"),
    "ε as a truth value": (attack, {"epsilons": [True]}, "epsilons: True; accepted"),
    "no method": (attack, {"method": None}, "method: a NoneType; accepted is text"),
    "a list of methods": (attack, {"method": ["fgsm"]}, "method: a list; accepted is text"),
    "a method among methods": (attribute, {"methods": [["gradient"]]}, "methods: a list; accepted is text"),
    "a class alone": (generate, {"classes": 1}, f"classes: 1; accepted {LISTED}"),
    "a class as text": (generate, {"classes": ["1"]}, rf"classes: \['1'\]; accepted {LISTED}"),
    "classes as text": (generate, {"classes": "12"}, f"classes: '12'; accepted {LISTED}"),
    "half a class": (generate, {"classes": [1.5]}, rf"classes: \[1.5\]; accepted {LISTED}"),
    "a class as a truth value": (generate, {"classes": [True]}, rf"classes: \[True\]; accepted {LISTED}"),
    "probabilities": (generate, {"classes": torch.rand(2)}, f"classes: .*; accepted {LISTED}"),
    "masks": (generate, {"classes": np.array([True])}, f"classes: .*; accepted {LISTED}"),
    "a seed alone": (generate, {"seeds": 3}, f"seeds: 3; accepted {LISTED}"),
    "a seed as text": (generate, {"seeds": ["a"]}, rf"seeds: \['a'\]; accepted {LISTED}"),
    "a size as text": (generate, {"image_size": "28"}, "image_size=28: accepted are whole numbers from 8"),
    "half a size": (generate, {"image_size": 28.5}, "image_size=28.5: accepted are whole numbers from 8"),
    "no recipe": (generate, {"recipe": None}, "recipe: a NoneType; accepted is a recipe"),
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier("fashion_deep")


def called(function: Callable[..., object], model: Classifier, **changed: object) -> object:
    given: dict[Callable[..., object], dict[str, object]] = {
        attack: {"images": IMAGES, "labels": LABELS, "method": "fgsm", "epsilons": [0.1]},
        attribute: {"images": IMAGES, "labels": LABELS, "methods": ["gradient", "occlusion:window_size=14"]},
        generate: {"classes": [1], "recipe": RECIPE},
    }
    return function(model, **given[function] | changed)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_argument_is_named_with_what_could_be(mistake: str, classifier: Classifier) -> None:
    function, wrong, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        called(function, classifier, **wrong)


@pytest.mark.parametrize("classes", [range(1, 3), torch.tensor([1, 2]), np.array([1, 2]), (1, np.int32(2))])
def test_classes_may_be_any_listing(classes: object, classifier: Classifier) -> None:
    given = called(generate, classifier, classes=classes)
    assert torch.equal(given.images, called(generate, classifier, classes=[1, 2]).images)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_taken_where_the_caller_records_none(
    mode: Callable[[], AbstractContextManager[object]], classifier: Classifier
) -> None:
    plain = called(attack, classifier), called(attribute, classifier), called(generate, classifier)
    with mode():
        within = called(attack, classifier), called(attribute, classifier), called(generate, classifier)
    assert torch.equal(within[0].linf, plain[0].linf)
    assert torch.equal(within[1].values["gradient"], plain[1].values["gradient"])
    assert torch.equal(within[2].images, plain[2].images)
