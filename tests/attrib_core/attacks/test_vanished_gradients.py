"""Gradients that vanish are replaced by the margin's; gradients and logits that are not finite fail an image."""

import re

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import METHODS, AttackSettings, attack, attack_batch
from attrib_core.attacks.mixed_precision import MixedPrecisionModel, attacked_model
from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.execution import choose_execution
from attrib_core.prepared import PreparedModel

SCALE = 100.0
FOLLOWING = [name for name in METHODS if name != "random_sign"]
ON_GRID = [name for name in FOLLOWING if not METHODS[name].seeks_minimum]
FEW_STEPS = AttackSettings(num_steps=2)
TOLERANCE = 1e-6


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def scaled_head(scale: float) -> Classifier:
    """fashion_deep with the weights of its head multiplied."""
    classifier = load_classifier("fashion_deep")
    head = [module for module in classifier.modules() if isinstance(module, nn.Linear)][-1]
    head.weight.data *= scale
    head.bias.data *= scale
    return classifier


class Faulty(nn.Module):
    """Three linear logits, with a fault in images whose first pixel has a value: see `forward`."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)
        self.layer.weight.data, self.layer.bias.data = drawn(3, 16), torch.tensor([4.0, 0.0, 0.0])
        self.dtype = dtype  # the fault is there in this precision alone

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1)).float()
        if self.dtype is not None and not torch.is_autocast_enabled("cpu"):
            return logits
        first = images[:, 0, 0, 0].float()
        # 0 x infinity in the backward pass at 0, where the logits themselves are finite.
        logits = logits + 1e-3 * ((first - 0.0).abs() * 0 + first.sqrt() * 0)[:, None]
        # NaN in the logits near 1, which an attack reaches from 0.95.
        return torch.where((first > 0.96)[:, None], torch.nan, logits)


@pytest.fixture
def known(classifier_of) -> Classifier:
    return classifier_of(Faulty(), num_classes=3)


def images_with(*first_pixels: float) -> Tensor:
    images = (0.5 + 0.02 * drawn(len(first_pixels), 1, 4, 4)).clamp(0.3, 0.7)
    images[:, 0, 0, 0] = torch.tensor(first_pixels)
    return images


LABELS = torch.zeros(5, dtype=torch.long)


class TestSaturated:
    """Two classes whose logits are so large that the softmax is exactly 0 and 1."""

    @pytest.fixture
    def weights(self) -> Tensor:
        # Opposite, so that the signs are right also where the label's probability rounds to 1 and drops out.
        return SCALE * torch.stack([-drawn(16), drawn(16)])

    @pytest.fixture
    def bias(self) -> Tensor:
        return torch.zeros(2)

    @pytest.fixture
    def images(self) -> Tensor:
        return 0.5 + 0.02 * drawn(24, 1, 4, 4).clamp(-3, 3)

    @pytest.fixture
    def model(self, weights, bias, plain, linear_classifier) -> PreparedModel:
        return plain(linear_classifier(weights, bias))

    @pytest.mark.parametrize(
        ("method", "direction"),
        [
            ("fgsm", lambda g: g.sign()),
            ("max_norm", lambda g: g / g.abs().max()),
            ("max_norm_signed", lambda g: g / g.max()),
            ("gradient_alone", lambda g: g.sign()),
        ],
    )
    @pytest.mark.parametrize("target", [None, 1])
    def test_directions_are_those_of_the_margin(
        self, method, direction, target, weights, images, model, batch_of
    ) -> None:
        labels = torch.zeros(len(images), dtype=torch.long)
        found = attack_batch(model, batch_of(images, labels, target), method, [0.01])
        # The cross-entropy of a target with probability 0 is as steep as it can be.
        assert (found.zero_gradient == (target is None)).all()
        assert (found.gradient_fallback == (target is None)).all()
        expected = direction((weights[1] - weights[0]).view(1, 1, 4, 4)).expand_as(images)
        torch.testing.assert_close(found.direction, expected)

    @pytest.mark.parametrize("method", ["minimum_fgsm", "minimum_max_norm"])
    def test_minima_are_those_of_the_closed_form(
        self, method, weights, bias, images, model, batch_of
    ) -> None:
        difference = (weights[0] - weights[1]).double()
        reach = {
            "minimum_fgsm": difference.abs().sum(),
            "minimum_max_norm": difference.square().sum() / difference.abs().max(),
        }[method]
        margin = images.flatten(1).double() @ difference + (bias[0] - bias[1])
        labels = torch.zeros(len(images), dtype=torch.long)
        settings = AttackSettings(tolerance=TOLERANCE, clip=False)
        found = attack_batch(model, batch_of(images, labels), method, [0.0], settings)
        assert (margin > 104).all(), "the smallest float32 is about exp(-103)"
        torch.testing.assert_close(found.epsilons[:, 0], margin / reach, rtol=1e-5, atol=2 * TOLERANCE)
        assert found.gradient_fallback.all()

    @pytest.mark.parametrize("method", ["bim", "pgd"])
    def test_steps_follow_the_margin_until_the_image_is_fooled(
        self, method, weights, bias, images, model, batch_of
    ) -> None:
        labels = torch.zeros(len(images), dtype=torch.long)
        difference = (weights[0] - weights[1]).double()
        minimum = (images.flatten(1).double() @ difference + bias[0]) / difference.abs().sum()
        low, high = 0.8 * minimum.min().item(), 1.3 * minimum.max().item()
        assert high < 0.44, "nothing is clipped"
        found = attack_batch(model, batch_of(images, labels), method, [0.0, low, high])
        assert (found.adversarial.prediction == torch.tensor([0, 0, 1])).all()
        assert (found.gradient_fallback[:, :2] == torch.tensor([False, True])).all()
        # A random start at the large ε may be so near the other class that the softmax is not saturated there.
        assert found.gradient_fallback[:, 2].double().mean() >= (0.9 if method == "pgd" else 1)

    @pytest.mark.parametrize("method", FOLLOWING)
    def test_a_fooled_image_with_a_zero_gradient_is_left_alone(self, method, images, model, batch_of) -> None:
        """It has the target's probability 1 already."""
        labels = torch.ones(len(images), dtype=torch.long)
        found = attack_batch(model, batch_of(images, labels, target=0), method, [0.1], FEW_STEPS)
        assert found.zero_gradient.all()
        assert not found.gradient_fallback[:, 0].any() or method == "pgd"
        assert (found.adversarial.prediction == 0).all() or method == "gradient_alone"


@pytest.mark.parametrize("method", FOLLOWING)
def test_a_network_that_depends_on_nothing_has_no_way_to_go(
    method, plain, batch_of, linear_classifier
) -> None:
    """The margin's gradient vanishes as well."""
    model = plain(linear_classifier(torch.zeros(2, 16), torch.tensor([2.0, 0.0])))
    found = attack_batch(model, batch_of(images_with(0.5, 0.5), LABELS[:2]), method, [0.1], FEW_STEPS)
    assert found.zero_gradient.all()
    assert not found.gradient_fallback.any()
    assert found.failures == (None, None)


def test_a_head_times_100_is_as_easy_to_fool(images, batch_of, plain) -> None:
    batch, epsilons = batch_of(images[0][:200], images[1][:200]), [2 / 255, 0.01, 8 / 255, 0.1]
    rates, minima = {}, {}
    for scale in (1.0, SCALE):
        model = plain(scaled_head(scale))
        for method in ("fgsm", "max_norm", "pgd"):
            found = attack_batch(model, batch, method, epsilons, FEW_STEPS)
            wrong = found.adversarial.prediction != batch.labels[:, None]
            rates[method, scale] = wrong.double().mean(0)
            assert found.gradient_fallback.any() == (scale == SCALE)
        minima[scale] = attack_batch(model, batch, "minimum_fgsm", epsilons).epsilons[:, 0]
    for method in ("fgsm", "max_norm", "pgd"):
        assert rates[method, SCALE][-1] > 0.3, method
        # Other signs where the largest other logit is not all of the loss.
        torch.testing.assert_close(rates[method, SCALE], rates[method, 1.0], rtol=0, atol=0.05)
    assert (minima[SCALE].isnan() == minima[1.0].isnan()).double().mean() > 0.95
    found = ~minima[SCALE].isnan() & ~minima[1.0].isnan()
    torch.testing.assert_close(minima[SCALE][found].median(), minima[1.0][found].median(), rtol=0.1, atol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "mixed"])
def test_a_saturated_network_is_attacked_in_every_precision(precision, images, batch_of) -> None:
    batch = batch_of(images[0][:64], images[1][:64])
    model = attacked_model(scaled_head(SCALE), precision, batch, [0.1], device="cpu")
    found = attack_batch(model, batch, "fgsm", [0.1])
    assert found.gradient_fallback[found.clean.prediction == batch.labels].double().mean() > 0.8
    assert (found.adversarial.prediction != batch.labels[:, None]).double().mean() > 0.3
    assert found.failures == (None,) * 64


@pytest.mark.parametrize("method", FOLLOWING)
def test_a_gradient_that_is_nan_fails_its_image_alone(method, known, plain, batch_of) -> None:
    images = images_with(0.5, 0.0, 0.5, 0.6, 0.5)
    model = plain(known)
    found = attack_batch(model, batch_of(images, LABELS), method, [0.01], FEW_STEPS, keep=range(5))
    assert found.failures == (None, "its gradient holds NaN or infinite values", None, None, None)
    assert found.adversarial.prediction[1, 0] == -1
    assert found.rounded_prediction[1, 0] == -1
    assert found.epsilons[1, 0] == -1
    assert found.loss[1].isnan().all()
    others = [0, 2, 3, 4]
    alone = attack_batch(model, batch_of(images[others], LABELS[:4]), method, [0.01], FEW_STEPS)
    if method not in ("pgd", "pgd_l2", "dim", "tim"):  # whose random numbers depend on the position
        assert torch.equal(found.adversarial.margin[others], alone.adversarial.margin)
    assert found.loss[others].isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_logits_that_are_nan_fail_their_image_alone(method, known, plain, batch_of) -> None:
    found = attack_batch(
        plain(known), batch_of(images_with(0.5, 0.98, 0.5, 0.5, 0.5), LABELS), method, [0.01]
    )
    assert found.failures == (None, "its logits hold NaN or infinite values", None, None, None)


@pytest.mark.parametrize("method", ["fgsm", "max_norm", "bim", "pgd"])
def test_logits_that_are_nan_under_attack_fail_their_image(method, known, plain, batch_of) -> None:
    """Up is away from class 0, and the last image steps over the edge."""
    known.network.layer.weight.data[1:, 0] += 50
    known.network.layer.bias.data[0] += 49
    batch = batch_of(images_with(0.5, 0.5, 0.5, 0.5, 0.955), LABELS)
    found = attack_batch(plain(known), batch, method, [0.0, 0.2], FEW_STEPS)
    assert found.failures[:4] == (None,) * 4
    assert re.fullmatch(
        r"its logits (under attack|before .* ε = 0.2) hold NaN or infinite values", found.failures[4]
    )


def test_logits_that_are_nan_on_the_way_to_a_minimum_fail_their_image(known, plain, batch_of) -> None:
    known.network.layer.weight.data[1:, 0] += 50
    known.network.layer.bias.data[0] += 49
    batch = batch_of(images_with(0.5, 0.5), torch.tensor([0, 1]))
    found = attack_batch(plain(known), batch, "minimum_fgsm", [0.0])
    assert found.failures == ("its logits on the way to its minimum ε hold NaN or infinite values", None)
    assert found.epsilons[:, 0].tolist() == [-1, 0], "wrong already"


@pytest.mark.parametrize("method", ["fgsm", "bim", "minimum_fgsm"])
def test_nan_of_a_quick_pass_is_computed_again_in_float32(method, classifier_of, batch_of) -> None:
    """In half precision the fault is there, in float32 it is not."""
    execution = choose_execution("cpu", "bfloat16")
    classifier = execution.prepare(classifier_of(Faulty(torch.bfloat16), num_classes=3))
    batch = batch_of(images_with(0.5, 0.0, 0.98, 0.5, 0.5), LABELS)
    exact = attack_batch(
        PreparedModel(classifier, choose_execution("cpu", "float32"), 8), batch, method, [0.01]
    )
    found = attack_batch(PreparedModel(classifier, execution, 8), batch, method, [0.01])
    assert found.failures == (None,) * 5
    assert torch.equal(found.adversarial.prediction[1:3], exact.adversarial.prediction[1:3])
    assert found.rechecked[2].all() or method == "minimum_fgsm", "wrong already, so that it does not move"


def test_mixed_precision_does_not_trust_nan_and_is_not_calibrated_by_it(classifier_of, batch_of) -> None:
    classifier = classifier_of(Faulty(torch.bfloat16), num_classes=3)
    batch = batch_of(images_with(0.5, 0.98, 0.52, 0.5, 0.48), LABELS)
    model = attacked_model(classifier, "mixed", batch, [0.01], device="cpu")
    assert isinstance(model, MixedPrecisionModel)
    assert 0 < model.band < 10
    exact = attack_batch(model.in_float32(), batch, "fgsm", [0.01])
    found = attack_batch(model, batch, "fgsm", [0.01])
    assert torch.equal(found.adversarial.prediction, exact.adversarial.prediction)
    assert found.failures == (None,) * 5


def test_the_library_says_which_images_failed_and_what_was_followed(known, linear_classifier) -> None:
    found = attack(known, images_with(0.5, 0.0), LABELS[:2], "fgsm", epsilons=[0.1])
    assert found.failures == (None, "its gradient holds NaN or infinite values")
    with pytest.raises(ValueError, match="known: its gradient holds NaN or infinite values; no image can be"):
        attack(known, images_with(0.0), LABELS[:1], "fgsm", epsilons=[0.1])
    saturated = linear_classifier(SCALE * drawn(2, 16), torch.tensor([1500.0, 0.0]))
    found = attack(saturated, images_with(0.5), LABELS[:1], "fgsm", epsilons=[0.1])
    assert found.gradient_fallback.all()
