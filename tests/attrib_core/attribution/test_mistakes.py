"""What cannot be explained is refused, with the field, the value and what would be accepted."""

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attribution import AttributionSettings, deletion_and_insertion

IMAGES, LABELS = torch.full((4, 1, 4, 4), 0.5), torch.tensor([0, 1, 2, 0])


@pytest.fixture
def classifier(linear_classifier):
    weights = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return linear_classifier(weights, torch.zeros(3))


def images(value: float) -> Tensor:
    pixels = IMAGES.clone()
    pixels[2, 0, 1, 1] = value
    return pixels


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": images(1.5)}, r"images: values from 0.5 to 1.5; accepted are those in \[0, 1\]"),
        ({"images": images(float("nan"))}, r"images: values from nan to nan; accepted"),
        ({"images": torch.zeros(4, 3, 4, 4)}, r"images \[4, 3, 4, 4\]: known takes \[B, 1, H, W\]"),
        ({"images": torch.zeros(0, 1, 4, 4)}, r"images \[0, 1, 4, 4\]: known takes"),
        ({"images": IMAGES.to(torch.uint8)}, r"images: dtype torch.uint8; accepted is floating"),
        ({"labels": torch.tensor([0, 1, 3, 0])}, r"labels: 3 at position 2; accepted are 0 to 2"),
        ({"labels": LABELS.float()}, r"labels: torch.float32 \[4\]; accepted are integers \[4\]"),
        ({"keys": (1, 2)}, r"keys: 2 of them for 4 images"),
        ({"methods": []}, r"methods: there are none; accepted are gradient, abs_gradient_x_input"),
        ({"methods": ["gradeint"]}, r"methods: 'gradeint'; accepted are gradient, abs_gradient_x_input"),
        ({"methods": ["gradient", "gradient"]}, r"methods: 'gradient' is listed twice"),
        ({"target": "logit"}, r"target='logit': accepted are predicted, label, loss"),
        (
            {"methods": ["occlusion"], "settings": AttributionSettings(window_size=5)},
            r"window_size=5: accepted are 1 to 4 on images of 4 × 4",
        ),
        (
            {"methods": ["occlusion"], "settings": AttributionSettings(stride=2)},
            r"stride=2: accepted are 1 to the window's 1",
        ),
    ],
)
def test_a_request_that_cannot_be(changed, message, classifier, explain) -> None:
    request = {"images": IMAGES, "labels": LABELS, "methods": ["gradient"]} | changed
    with pytest.raises(ValueError, match=message):
        explain(classifier, **request)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_size": 0}, r"window_size=0: accepted are 1 and more"),
        ({"stride": 0}, r"stride=0: accepted are 1 and more"),
        ({"window_size": 2, "stride": 3}, r"stride=3: .*; accepted are 1 to window_size=2"),
        ({"baseline": "white"}, r"baseline='white': accepted are black, blurred, uniform"),
        ({"num_steps": 0}, r"num_steps=0: accepted are 1 and more"),
        ({"num_samples": 0}, r"num_samples=0: accepted are 1 and more"),
        ({"noise": -0.1}, r"noise=-0.1: accepted are numbers from 0"),
        ({"noise": float("nan")}, r"noise=nan: accepted"),
    ],
)
def test_settings_that_cannot_be(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        AttributionSettings(**settings)


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_a_model_that_answers_with_probabilities(method, classifier_of, explain) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
    with pytest.raises(ValueError, match=r"known: its outputs are probabilities"):
        explain(classifier_of(network, num_classes=3), IMAGES, LABELS, [method])


def test_a_model_that_answers_with_nan(linear_classifier, explain) -> None:
    broken = linear_classifier(torch.full((3, 1, 4, 4), torch.inf), torch.zeros(3))
    with pytest.raises(ValueError, match=r"known: its logits hold NaN or infinite values"):
        explain(broken, IMAGES, LABELS, ["gradient"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"attribution": torch.zeros(4, 4, 4)},
            r"attribution \[4, 4, 4\]: accepted is the images' \[4, 1, 4, 4\]",
        ),
        ({"attribution": images(float("nan"))}, r"attribution: it holds NaN or infinite values"),
        ({"num_steps": 0}, r"num_steps=0: accepted are 1 and more"),
        ({"classes": torch.tensor([0, 1, 3, 0])}, r"3 at position 2; accepted are 0 to 2"),
        ({"images": images(2.0)}, r"images: values from 0.5 to 2; accepted"),
    ],
)
def test_scores_that_cannot_be(changed, message, classifier) -> None:
    request = {"images": IMAGES, "attribution": IMAGES, "classes": LABELS} | changed
    with pytest.raises(ValueError, match=message):
        deletion_and_insertion(classifier, **request)
