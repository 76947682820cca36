"""On a linear classifier the answers are known: margin/‖w‖₁ for the sign, margin·max|w|/‖w‖₂² for max-norm."""

import pytest
import torch
from torch import Tensor

from attrib_core.attacks import AttackSettings, attack_batch

TOLERANCE = 1e-6
SETTINGS = AttackSettings(tolerance=TOLERANCE)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def two_classes() -> tuple[Tensor, Tensor, Tensor]:
    """Weights `[2, 16]`, images `[64, 1, 4, 4]` near mid-grey, where nothing is clipped, and labels."""
    weights = drawn(2, 16)
    images = 0.5 + 0.02 * drawn(64, 1, 4, 4).clamp(-3, 3)
    labels = torch.arange(64) % 2
    return weights, images, labels


def margins(weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    logits = images.flatten(1).double() @ weights.double().T
    return (logits[range(len(labels)), labels] - logits[range(len(labels)), 1 - labels]).clamp(min=0)


def rounding(weights: Tensor, expected: Tensor, margin: Tensor) -> Tensor:
    """Bound on what float32 adds to margin / reach, times the reach, for pixels in [0, 1]: `[B]`.

    Two logits of n terms are off by n u ‖w‖₁ each, in any order of adding up (Higham 2002, section 3.1). The
    gradient p₁ w₁ + (p₀ − 1) w₀ has p₀ rounded near 1, so its direction is off by u / p₁, and so is a step of ε
    along it.
    """
    unit, norm = torch.finfo(torch.float32).eps / 2, weights.double().abs().sum(1).max()
    probability = torch.sigmoid(-margin)
    return unit * norm * (2 * weights.shape[1] + 4 * expected / probability)


@pytest.mark.parametrize("method", ["minimum_fgsm", "minimum_max_norm", "minimum_fgm_l2"])
def test_the_minimum_epsilon_is_that_of_the_closed_form(
    two_classes, method, plain, batch_of, linear_classifier
) -> None:
    weights, images, labels = two_classes
    difference = (weights[0] - weights[1]).double()
    reach = {
        "minimum_fgsm": difference.abs().sum(),
        "minimum_max_norm": difference.square().sum() / difference.abs().max(),
        "minimum_fgm_l2": difference.square().sum().sqrt(),
    }[method]
    margin = margins(weights, images, labels)
    expected = margin / reach
    model = plain(linear_classifier(weights, torch.zeros(2)))
    found = attack_batch(model, batch_of(images, labels), method, [0.0], SETTINGS)
    assert (expected > 0).sum() > 10, "some images are right to begin with"
    slack = rounding(weights, expected, margin) / reach
    tight = (
        1e-4 if method == "minimum_fgm_l2" else 2e-5
    )  # Euclidean ε of 16 pixels are up to four times as large
    assert slack.max() < tight, "so tight that another formula fails"
    assert (found.epsilons[:, 0] >= expected - slack).all()
    assert (found.epsilons[:, 0] <= expected + 2 * TOLERANCE + slack).all()
    assert (found.adversarial.prediction[:, 0] != labels).all()


def test_the_minimum_for_a_target_is_that_of_the_closed_form(
    two_classes, plain, batch_of, linear_classifier
) -> None:
    weights, images, labels = two_classes
    expected = (
        margins(weights, images, torch.zeros(64, dtype=torch.long)) / (weights[0] - weights[1]).abs().sum()
    )
    model = plain(linear_classifier(weights, torch.zeros(2)))
    found = attack_batch(model, batch_of(images, labels, target=1), "minimum_fgsm", [0.0], SETTINGS)
    torch.testing.assert_close(found.epsilons[:, 0], expected, rtol=0, atol=2 * TOLERANCE)


def test_a_minimum_that_does_not_exist_is_nan_and_its_row_describes_the_largest_epsilon(
    plain, batch_of, linear_classifier
) -> None:
    weights, bias = torch.zeros(2, 16), torch.tensor([0.0, 10.0])
    weights[0] = 1e-3
    images, labels = torch.full((4, 1, 4, 4), 0.5), torch.ones(4, dtype=torch.long)
    found = attack_batch(
        plain(linear_classifier(weights, bias)), batch_of(images, labels), "minimum_fgsm", [0.0]
    )
    assert found.epsilons.isnan().all()
    assert (found.linf == 0.5).all(), "ε = 1 from mid-grey, clipped"


@pytest.mark.parametrize(
    ("method", "direction"),
    [
        ("fgsm", lambda g: g.sign()),
        ("max_norm", lambda g: g / g.abs().max()),
        ("max_norm_signed", lambda g: g / g.max()),
        ("gradient_alone", lambda g: g.sign()),
    ],
)
def test_directions_follow_their_formula(
    two_classes, method, direction, plain, batch_of, linear_classifier
) -> None:
    weights, images, _ = two_classes
    labels = torch.zeros(64, dtype=torch.long)
    found = attack_batch(
        plain(linear_classifier(weights, torch.zeros(2))),
        batch_of(images, labels),
        method,
        [0.01],
        AttackSettings(clip=False),
        keep=range(64),
    )
    # The gradient of cross-entropy is (p₁ − ...) (w₁ − w₀): positive times the difference.
    expected = direction((weights[1] - weights[0]).view(1, 1, 4, 4))
    start = torch.zeros_like(images) if method == "gradient_alone" else images
    torch.testing.assert_close(found.direction, expected.expand(64, 1, 4, 4), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.adversarial_images[:, 0], start + 0.01 * expected, rtol=0, atol=1e-6)


def test_the_original_normalisation_turns_round_where_the_gradient_is_negative_everywhere(
    plain, batch_of, linear_classifier
) -> None:
    weights = torch.stack([torch.full((16,), 2.0), torch.full((16,), 1.0)])
    images, labels = torch.full((4, 1, 4, 4), 0.5), torch.zeros(4, dtype=torch.long)
    model = plain(linear_classifier(weights, torch.zeros(2)))
    downhill = attack_batch(model, batch_of(images, labels), "max_norm_signed", [0.1])
    uphill = attack_batch(model, batch_of(images, labels), "max_norm", [0.1])
    assert (downhill.direction == 1).all()
    assert (uphill.direction == -1).all()
    assert (downhill.loss < uphill.loss).all()


def test_loss_confidence_and_margin_are_those_of_the_adversarial_image(
    two_classes, plain, batch_of, linear_classifier
) -> None:
    weights, images, labels = two_classes
    model = plain(linear_classifier(weights, torch.zeros(2)))
    found = attack_batch(model, batch_of(images, labels), "fgsm", [0.03, 0.2], keep=range(64))
    for column in range(2):
        logits = found.adversarial_images[:, column].flatten(1) @ weights.T
        own, other = logits[range(64), labels], logits[range(64), 1 - labels]
        torch.testing.assert_close(found.adversarial.margin[:, column], own - other, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            found.loss[:, column], torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        )
        torch.testing.assert_close(found.adversarial.confidence[:, column], logits.softmax(1).amax(1))
        distance = (found.adversarial_images[:, column] - images).flatten(1)
        torch.testing.assert_close(found.linf[:, column], distance.abs().amax(1))
        torch.testing.assert_close(found.l2[:, column], distance.norm(dim=1))
