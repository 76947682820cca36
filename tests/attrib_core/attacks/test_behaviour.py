"""What users rely on, whatever the method: exact zeros, untouched inputs, independence of batches, 8 bits."""

import math

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import METHODS, AttackBatch, AttackSettings, attack_batch
from attrib_core.attacks.minimum import GRID, SLACK_ROUNDS
from attrib_core.attacks.mixed_precision import attacked_model
from attrib_core.classifiers import load_classifier
from attrib_core.prepared import prepare

NUM_IMAGES = 40
ADDITIVE = [name for name in METHODS if name != "gradient_alone"]
ON_GRID = [name for name in ADDITIVE if not METHODS[name].seeks_minimum]
BOUNDED = [name for name in ON_GRID if name != "max_norm_signed"]  # whose divisor may be less than max|g|
FEW_STEPS = AttackSettings(num_steps=2)
LOGIT_ROUNDING = 1e-5  # of logits about 10, after twelve layers of float32


@pytest.fixture
def some(images: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return images[0][:NUM_IMAGES], images[1][:NUM_IMAGES]


@pytest.mark.parametrize("method", ON_GRID)
def test_epsilon_zero_gives_the_clean_prediction_bit_for_bit(method, fashion, some, plain, batch_of) -> None:
    found = attack_batch(
        plain(fashion), batch_of(*some), method, [0.1, 0.0], FEW_STEPS, keep=range(NUM_IMAGES)
    )
    assert torch.equal(found.adversarial_images[:, 1], some[0])
    for fact in ("prediction", "confidence", "margin"):
        assert torch.equal(getattr(found.adversarial, fact)[:, 1], getattr(found.clean, fact))
    assert torch.equal(found.rounded_prediction[:, 1], found.clean.prediction)
    assert (found.linf[:, 1] == 0).all()
    assert (found.l2[:, 1] == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_images_are_never_written_to(method, fashion, some, plain, batch_of, epsilons) -> None:
    batch = batch_of(*some)
    before = batch.images.clone()
    attack_batch(plain(fashion), batch, method, epsilons, FEW_STEPS)
    assert torch.equal(batch.images, before)
    assert not batch.images.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_the_size_of_a_batch_changes_no_bit(method, fashion, some, plain, batch_of) -> None:
    """By construction: the network sees one batch shape, whatever the number of images."""
    model, grid = plain(fashion), [0.01, 0.1]
    together = attack_batch(model, batch_of(*some), method, grid, FEW_STEPS, keep=range(8, 12))
    for size in (4, 3):
        rows = slice(8, 8 + size)
        few = AttackBatch(images=some[0][rows], labels=some[1][rows], keys=tuple(range(8, 8 + size)))
        found = attack_batch(model, few, method, grid, FEW_STEPS, keep=range(size))
        assert torch.equal(found.adversarial_images, together.adversarial_images[:size])
        assert torch.equal(found.adversarial.confidence, together.adversarial.confidence[rows])
        assert torch.equal(found.adversarial.margin, together.adversarial.margin[rows])
        torch.testing.assert_close(found.epsilons, together.epsilons[rows], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_attacked_alike_alone(method, fashion, some, plain, batch_of) -> None:
    model, grid = plain(fashion), [0.01, 0.1]
    together = attack_batch(model, batch_of(*some), method, grid, FEW_STEPS)
    alone = AttackBatch(images=some[0][7:8], labels=some[1][7:8], keys=(7,))
    found = attack_batch(model, alone, method, grid, FEW_STEPS)
    assert torch.equal(found.adversarial.prediction[0], together.adversarial.prediction[7])
    assert torch.equal(found.adversarial.margin[0], together.adversarial.margin[7])


@pytest.mark.parametrize("method", BOUNDED)
def test_no_pixel_moves_further_than_epsilon_or_out_of_range(method, fashion, some, plain, batch_of) -> None:
    found = attack_batch(plain(fashion), batch_of(*some), method, [0.05], FEW_STEPS, keep=range(NUM_IMAGES))
    assert found.adversarial_images.min() >= 0
    assert found.adversarial_images.max() <= 1
    assert found.linf.max() <= 0.05 + 1e-6


def test_without_clipping_images_leave_the_range(fashion, some, plain, batch_of) -> None:
    settings = AttackSettings(clip=False)
    found = attack_batch(plain(fashion), batch_of(*some), "fgsm", [0.1], settings, keep=range(NUM_IMAGES))
    assert found.adversarial_images.min() < 0
    assert found.adversarial_images.max() > 1


def test_rounded_facts_are_those_of_the_rounded_image(fashion, some, plain, batch_of, epsilons) -> None:
    model = plain(fashion)
    found = attack_batch(model, batch_of(*some), "fgsm", epsilons, keep=range(NUM_IMAGES))
    for column in range(len(epsilons)):
        rounded = (found.adversarial_images[:, column] * 255).round() / 255
        assert torch.equal(found.rounded_prediction[:, column], model.exact_logits(rounded).argmax(1))
        assert torch.equal(found.rounded_linf[:, column], (rounded - some[0]).abs().amax((1, 2, 3)))


def test_a_quarter_of_a_level_is_gone_after_rounding(fashion, images, plain, batch_of) -> None:
    found = attack_batch(plain(fashion), batch_of(*images), "fgsm", [0.25 / 255, 1 / 255])
    assert (found.rounded_linf[:, 0] == 0).all()
    assert torch.equal(found.rounded_prediction[:, 0], found.clean.prediction)
    assert (found.adversarial.prediction[:, 0] != found.clean.prediction).any()
    assert torch.equal(found.rounded_prediction[:, 1], found.adversarial.prediction[:, 1])


def test_a_vanishing_gradient_is_flagged_and_moves_nothing(some, plain, batch_of, classifier_of) -> None:
    class Saturated(nn.Module):
        """Logits that do not depend on the image where its mean is below a half."""

        def forward(self, images: Tensor) -> Tensor:
            bright = (images.mean((1, 2, 3)) - 0.5).clamp(min=0)
            return torch.stack([bright, 1 - bright, bright * 0], 1) * 3

    dark, bright = torch.full((4, 1, 4, 4), 0.2), torch.full((4, 1, 4, 4), 0.8)
    batch = batch_of(torch.cat([dark, bright]), torch.zeros(8, dtype=torch.long))
    model = plain(classifier_of(Saturated(), num_classes=3))
    for method in ("fgsm", "max_norm", "max_norm_signed", "bim"):
        found = attack_batch(model, batch, method, [0.1])
        assert found.zero_gradient.tolist() == [True] * 4 + [False] * 4, method
        assert (found.linf[:4] == 0).all(), method
        assert (found.linf[4:] > 0).all(), method
    assert attack_batch(model, batch, "minimum_fgsm", [0.1]).epsilons[:4].tolist() == [[0.0]] * 4, (
        "wrong already"
    )


def test_random_signs_depend_on_seed_and_key_alone(fashion, some, plain, batch_of) -> None:
    model = plain(fashion)
    first, again = (attack_batch(model, batch_of(*some), "random_sign", [0.1]).direction for _ in range(2))
    other = attack_batch(model, batch_of(*some), "random_sign", [0.1], AttackSettings(seed=1)).direction
    assert first.unique().tolist() == [-1, 1]
    assert torch.equal(first, again)
    assert 0.45 < (first == other).float().mean() < 0.55
    assert abs(first.mean()) < 0.02


def test_random_signs_flip_far_fewer_predictions_than_the_gradient(fashion, images, plain, batch_of) -> None:
    flipped = {}
    for method in ("random_sign", "fgsm"):
        found = attack_batch(plain(fashion), batch_of(*images), method, [0.01])
        flipped[method] = (found.adversarial.prediction[:, 0] != found.clean.prediction).float().mean()
    assert flipped["random_sign"] < 0.05
    assert flipped["fgsm"] > 4 * flipped["random_sign"]


def test_a_targeted_attack_lowers_the_loss_of_its_target(fashion, some, plain, batch_of) -> None:
    for method in ("fgsm", "max_norm", "bim", "pgd"):
        found = attack_batch(plain(fashion), batch_of(*some, 5), method, [0.0, 0.02], FEW_STEPS)
        assert (found.loss[:, 1] < found.loss[:, 0]).float().mean() > 0.9, method


def test_a_minimum_succeeds_and_a_little_less_does_not(fashion, some, plain, batch_of) -> None:
    model, tolerance = plain(fashion), AttackSettings().tolerance
    found = attack_batch(model, batch_of(*some), "minimum_fgsm", [0.0])
    minima, right = found.epsilons[:, 0], found.clean.prediction == some[1]
    assert (minima[~right] == 0).all()
    assert (found.adversarial.prediction[:, 0] != some[1])[~minima.isnan()].all()
    less = (minima - 1.01 * tolerance).clamp(min=0)
    for row in (right & ~minima.isnan()).nonzero()[:, 0].tolist()[:8]:
        single = AttackBatch(images=some[0][row : row + 1], labels=some[1][row : row + 1], keys=(row,))
        before = attack_batch(model, single, "fgsm", [less[row].item()])
        assert before.adversarial.prediction[0, 0] == some[1][row]


@pytest.mark.parametrize(("method", "along"), [("minimum_fgsm", "fgsm"), ("minimum_fgm_l2", "fgm_l2")])
def test_a_tolerance_below_what_numbers_hold_ends(method, along, fashion, some, plain, batch_of) -> None:
    found, least = (
        attack_batch(plain(fashion), batch_of(*some), method, [0.0], AttackSettings(tolerance=tolerance))
        for tolerance in (1e-6, 1e-300)
    )
    # In float32 the margin has several roots within its own rounding: how far apart they are, its slope says.
    for row in range(len(some[1])):
        minima = [each.epsilons[row, 0].item() for each in (found, least)]
        if minima[0] == 0 or math.isnan(minima[0]):
            assert minima[0] == minima[1] or math.isnan(minima[1])
            continue
        single = AttackBatch(images=some[0][row : row + 1], labels=some[1][row : row + 1], keys=(row,))
        around = [0.9 * minima[1], 1.1 * minima[1]]
        margins = attack_batch(plain(fashion), single, along, around).adversarial.margin[0]
        slope = (margins[0] - margins[1]).abs().item() / (around[1] - around[0])
        assert abs(minima[0] - minima[1]) <= 1e-6 + LOGIT_ROUNDING / slope


@pytest.mark.parametrize("method", ["minimum_fgsm", "minimum_fgm_l2"])
def test_the_facts_of_a_minimum_are_those_of_its_image(method, fashion, images, plain, batch_of) -> None:
    model, some = plain(fashion), (images[0][:200], images[1][:200])
    found = attack_batch(model, batch_of(*some), method, [0.0], keep=range(200))
    logits = model.exact_logits(found.adversarial_images[:, 0])
    assert torch.equal(found.adversarial.prediction[:, 0], logits.argmax(1))
    own = logits.gather(1, some[1][:, None])[:, 0]
    others = logits.scatter(1, some[1][:, None], -torch.inf).amax(1)
    assert torch.equal(found.adversarial.margin[:, 0], own - others)
    assert found.epsilons.isnan().any() == (found.adversarial.prediction[:, 0] == some[1]).any()


# Along signs: another direction has last bits of its own.
def test_last_bits_of_logits_hardly_ever_move_a_minimum(fashion, images, batch_of) -> None:
    batch, settings = batch_of(images[0][:200], images[1][:200]), AttackSettings()
    first, second = (
        attack_batch(prepare(fashion, device="cpu", batch_size=size), batch, "minimum_fgsm", [0.0], settings)
        for size in (200, 12)
    )
    torch.testing.assert_close(
        first.epsilons, second.epsilons, rtol=0, atol=settings.tolerance, equal_nan=True
    )
    assert (first.epsilons == second.epsilons).sum() + first.epsilons.isnan().sum() >= 196


@pytest.mark.parametrize("method", ["minimum_fgsm", "minimum_fgm_l2", "minimum_max_norm"])
def test_the_tries_of_a_minimum_are_few(method, fashion, some, plain, batch_of) -> None:
    settings = AttackSettings(tolerance=1e-5)
    largest = 28.0 if method == "minimum_fgm_l2" else 1.0
    found = attack_batch(plain(fashion), batch_of(*some), method, [0.0], settings)
    tries, bound = [], []
    for minimum, passes in zip(found.epsilons[:, 0].tolist(), found.num_forwards[:, 0].tolist(), strict=True):
        if minimum == 0 or math.isnan(minimum):
            assert passes == (1 if minimum == 0 else len(GRID))
            continue
        level = next(index for index, share in enumerate(GRID) if minimum <= share * largest)
        halvings = math.ceil(math.log2(largest * (GRID[level] - GRID[level - 1]) / settings.tolerance))
        assert passes <= 1 + level + halvings + SLACK_ROUNDS, "never much more than bisection"
        tries.append(passes - 1 - level)
        bound.append(halvings)
    assert sum(tries) < 0.7 * sum(bound), "and far less where the margin is smooth"


def test_mixed_precision_predicts_as_float32_does(images, plain, batch_of, epsilons) -> None:
    batch = batch_of(*images)
    exact = attack_batch(plain(load_classifier("fashion_deep")), batch, "fgsm", epsilons)
    model = attacked_model(load_classifier("fashion_deep"), "mixed", batch, epsilons)
    found = attack_batch(model, batch, "fgsm", epsilons)
    assert torch.equal(found.adversarial.prediction, exact.adversarial.prediction)
    assert torch.equal(found.rounded_prediction, exact.rounded_prediction)
    assert 0 < found.rechecked.float().mean() < 0.3
    assert not exact.rechecked.any()
    assert torch.equal(found.direction, exact.direction), "gradients are float32's"
    rechecked = found.rechecked & (found.linf > 0)
    torch.testing.assert_close(found.adversarial.margin[rechecked], exact.adversarial.margin[rechecked])


def test_mixed_precision_finds_the_minima_of_float32(some, plain, batch_of, epsilons) -> None:
    batch = batch_of(*some)
    exact = attack_batch(plain(load_classifier("fashion_deep")), batch, "minimum_fgsm", epsilons)
    model = attacked_model(load_classifier("fashion_deep"), "mixed", batch, epsilons)
    found = attack_batch(model, batch, "minimum_fgsm", epsilons)
    torch.testing.assert_close(found.epsilons, exact.epsilons, rtol=0, atol=0, equal_nan=True)


def test_bfloat16_runs_and_agrees_with_most_of_float32(images, plain, batch_of) -> None:
    batch = batch_of(*images)
    exact = attack_batch(plain(load_classifier("fashion_deep")), batch, "fgsm", [1 / 255])
    quick = attack_batch(
        attacked_model(load_classifier("fashion_deep"), "bfloat16", batch, ()), batch, "fgsm", [1 / 255]
    )
    same = (quick.adversarial.prediction == exact.adversarial.prediction).float().mean()
    assert 0.97 < same < 1
