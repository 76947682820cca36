"""What cannot be attacked is refused, with the field, the value and what would be accepted."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from attrib_core.attacks import AttackBatch, AttackSettings, attack, attack_batch
from attrib_core.classifiers import Classifier


@pytest.fixture
def batch() -> AttackBatch:
    return AttackBatch(
        images=torch.full((4, 1, 4, 4), 0.5), labels=torch.tensor([0, 1, 2, 0]), keys=(0, 1, 2, 3)
    )


@pytest.fixture
def model(plain, linear_classifier):
    return plain(
        linear_classifier(torch.randn(3, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(3))
    )


def images(**values: float) -> torch.Tensor:
    pixels = torch.full((4, 1, 4, 4), 0.5)
    for value in values.values():
        pixels[2, 0, 1, 1] = value
    return pixels


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": images(value=1.5)}, r"images: values from 0.5 to 1.5; accepted are those in \[0, 1\]"),
        ({"images": images(value=-0.25)}, r"images: values from -0.25 to 0.5; accepted"),
        ({"images": images(value=float("nan"))}, r"images: values from nan to nan; accepted"),
        ({"images": torch.zeros(4, 3, 4, 4)}, r"images \[4, 3, 4, 4\]: known takes \[B, 1, H, W\]"),
        ({"images": torch.zeros(0, 1, 4, 4)}, r"images \[0, 1, 4, 4\]: known takes"),
        (
            {"images": torch.zeros(4, 1, 4, 4, dtype=torch.uint8)},
            r"images: dtype torch.uint8; accepted is floating",
        ),
        ({"labels": torch.tensor([0, 1, 3, 0])}, r"labels: 3 at position 2; accepted are 0 to 2"),
        ({"labels": torch.tensor([0, -1, 2, 0])}, r"labels: -1 at position 1; accepted are 0 to 2"),
        ({"labels": torch.tensor([0, 1])}, r"labels: torch.int64 \[2\]; accepted are integers \[4\]"),
        ({"labels": torch.zeros(4)}, r"labels: torch.float32 \[4\]; accepted are integers \[4\]"),
        ({"targets": torch.tensor([0, 1, 2, 9])}, r"targets: 9 at position 3; accepted are 0 to 2"),
        ({"keys": (1, 2)}, r"keys: 2 of them for 4 images"),
    ],
)
def test_a_batch_that_cannot_be(model, batch, changed, message) -> None:
    with pytest.raises(ValueError, match=message):
        attack_batch(model, replace(batch, **changed), "fgsm", [0.1])


@pytest.mark.parametrize(
    ("epsilons", "message"),
    [
        ([], r"epsilons: there are none"),
        ([0.1, -0.1], r"epsilons: -0.1; accepted are numbers in \[0, 1\]"),
        ([8.0], r"epsilons: 8; accepted"),
        ([float("nan")], r"epsilons: nan; accepted"),
        ([0.1, 0.2, 0.1], r"epsilons: 0.1 is listed twice"),
    ],
)
def test_epsilons_that_cannot_be(model, batch, epsilons, message) -> None:
    with pytest.raises(ValueError, match=message):
        attack_batch(model, batch, "fgsm", epsilons)


def test_an_unknown_method(model, batch) -> None:
    with pytest.raises(ValueError, match=r"method='fgms': accepted are fgsm, max_norm, "):
        attack_batch(model, batch, "fgms", [0.1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, r"num_steps=0: accepted are 1 and more"),
        ({"step_size": 0.0}, r"step_size=0.0: accepted are numbers in \(0, 1\]"),
        ({"tolerance": 0.0}, r"tolerance=0.0: accepted"),
    ],
)
def test_settings_that_cannot_be(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        AttackSettings(**settings)


def test_a_model_that_answers_with_probabilities(plain, classifier_of, batch) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
    with pytest.raises(ValueError, match=r"known: its outputs are probabilities; accepted are logits"):
        attack_batch(plain(classifier_of(network, num_classes=3)), batch, "fgsm", [0.1])


class Hidden(nn.Module):
    """Logits that autograd cannot follow to the images."""

    def __init__(self, hide: str) -> None:
        super().__init__()
        self.hide, self.last = hide, nn.Linear(16, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.hide == "detach":
            return self.last(images.flatten(1).detach())
        with torch.no_grad():
            return self.last(images.flatten(1))


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("hide", ["no_grad", "detach"])
def test_a_model_without_a_gradient_is_named_and_forward_passes_work(plain, batch, hide, frozen) -> None:
    model = plain(Classifier.wrap(Hidden(hide), image_size=4, channels=1, name="hidden"))
    model.classifier.requires_grad_(not frozen)
    for method in ("fgsm", "pgd"):
        with pytest.raises(ValueError, match=r"hidden: for autograd its logits do not depend on the images"):
            attack_batch(model, batch, method, [0.1])
    found = attack_batch(model, batch, "random_sign", [0.1])
    assert found.failures == (None,) * 4


def test_a_model_that_answers_with_nan(plain, linear_classifier, batch) -> None:
    broken = linear_classifier(torch.full((3, 16), torch.inf), torch.zeros(3))
    with pytest.raises(ValueError, match=r"known: its logits hold NaN or infinite values"):
        attack(plain(broken), batch.images, batch.labels, "fgsm", epsilons=[0.1])
