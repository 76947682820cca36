"""Does the device compute what the CPU computes, in each precision?"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackResult, attack_batch
from attrib_core.attacks.mixed_precision import PRECISIONS, attacked_model
from attrib_core.attribution import METHODS, AttributionSettings, attribute
from attrib_core.classifiers import with_folded_batch_norms
from attrib_core.generation import generate
from attrib_core.prepared import PreparedModel, logit_of, prepare
from gpu.bench import EPSILONS, Bench, relative_error, relative_errors, share_of_equal
from gpu.results import Check, Result

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest errors that a precision may have against float32 on the CPU."""

    logits: float  # relative
    signs: float  # share of the gradient's signs that differ
    predictions: float  # share of FGSM's predictions that differ


# Float32 differs in the order of sums alone. The others round to 10 bits (tf32, float16) or 7 (bfloat16).
LIMITS = {
    "float32": Limits(logits=1e-5, signs=0.005, predictions=0.002),
    "mixed": Limits(logits=1e-5, signs=0.005, predictions=0.002),
    "tf32": Limits(logits=0.01, signs=0.2, predictions=0.02),
    "float16": Limits(logits=0.01, signs=0.2, predictions=0.02),
    "bfloat16": Limits(logits=0.05, signs=0.4, predictions=0.06),
}


def run(bench: Bench) -> list[Iterator[Result]]:
    """Compare logits, gradients, attacks, attributions and generated images with the CPU's."""
    return [piece(bench) for piece in (_precisions, _attacks, _large_model, _attributions, _generation)]


def _precisions(bench: Bench) -> Iterator[Result]:
    exact = _model(bench, "float32", CPU)
    expected = _logits_and_gradient(exact, bench.images, bench.labels)
    attacked = _fgsm(bench, exact)
    for precision in PRECISIONS:
        try:
            model = _model(bench, precision, bench.device)
        except ValueError as error:
            yield Check(
                name=f"{precision} is refused where it is not to be had", passed=True, note=str(error)
            )
            continue
        limits, found = LIMITS[precision], _logits_and_gradient(model, bench.images, bench.labels)
        yield _below(f"logits, {precision}", relative_error(found[0], expected[0]), limits.logits)
        signs = 1 - share_of_equal(found[1].sign(), expected[1].sign())
        median = relative_errors(found[1], expected[1]).median()
        yield _below(
            f"gradient's signs, {precision}", signs, limits.signs, f"; its median error {median:.1e}"
        )
        ours = _fgsm(bench, model)
        lost = int((ours.zero_gradient & ~attacked.zero_gradient).sum())
        yield Check(name=f"no gradient is lost, {precision}", passed=lost == 0, note=f"{lost} images")
        unlike = 1 - share_of_equal(ours.adversarial.prediction, attacked.adversarial.prediction)
        again = f"; {ours.rechecked.float().mean():.1%} computed twice" if precision == "mixed" else ""
        yield _below(f"FGSM's predictions at 12 ε, {precision}", unlike, limits.predictions, again)


def _attacks(bench: Bench) -> Iterator[Result]:
    models = [_model(bench, "float32", device) for device in (CPU, bench.device)]
    for method in ("max_norm", "random_sign", "gradient_alone", "minimum_fgsm", "pgd"):
        epsilons = EPSILONS[5:7] if method == "pgd" else EPSILONS
        expected, found = (attack_batch(each, _batch(bench, each), method, epsilons) for each in models)
        unlike = 1 - share_of_equal(found.adversarial.prediction, expected.adversarial.prediction)
        far = (found.epsilons - expected.epsilons).abs().nan_to_num(0).max()
        yield _below(f"{method}'s predictions", unlike, 0.005, f"; ε differ by at most {far:.0e}")


def _large_model(bench: Bench) -> Iterator[Result]:
    images, count = bench.large_images(bench.size(32, 4)), bench.size(32, 4)
    labels = torch.arange(count) * 7
    expected, found = (
        _logits_and_gradient(prepare(bench.large_model, device=device, batch_size=count), images, labels)
        for device in (CPU, bench.device)
    )
    yield _below("logits of lite0", relative_error(found[0], expected[0]), 1e-4)
    signs = 1 - share_of_equal(found[1].sign(), expected[1].sign())
    yield _below("signs of lite0's gradient", signs, 0.005)


def _attributions(bench: Bench) -> Iterator[Result]:
    settings = AttributionSettings(num_steps=16, num_samples=4)
    images, labels = bench.images[:32], bench.labels[:32]
    expected, found = (
        attribute(_model(bench, "float32", device), images, labels, tuple(METHODS), settings=settings).values
        for device in (CPU, bench.device)
    )
    for name in METHODS:
        # An occluded image's difference is that of two logits; a kink may switch a pixel of a gradient.
        error = relative_errors(found[name], expected[name]).median().item()
        yield _below(f"attribution {name}", error, 1e-3)


def _generation(bench: Bench) -> Iterator[Result]:
    size = bench.size(224, 64)
    originals = [bench.large_model for _ in range(2)]
    folded = [with_folded_batch_norms(each) for each in originals]
    is_folded = all(new is not old for new, old in zip(folded, originals, strict=True))
    yield Check(name="batch norms are folded into the convolutions", passed=is_folded)
    expected, found = (
        generate(
            prepare(classifier, device=device, batch_size=4, image_size=size),
            [1, 291],
            seeds=(0, 1),
            recipe="default:num_steps=3",  # a step a stage
            image_size=size,
        ).images
        for device, classifier in zip((CPU, bench.device), folded, strict=True)
    )
    yield _below("three steps of `default`", relative_error(found, expected), 0.02)


def _model(bench: Bench, precision: str, device: torch.device) -> PreparedModel:
    count = len(bench.images)
    calibration = AttackBatch(images=bench.images, labels=bench.labels, keys=tuple(range(count)))
    return attacked_model(
        bench.small_model, precision, calibration, EPSILONS, device=device, batch_size=count
    )


def _batch(bench: Bench, model: PreparedModel) -> AttackBatch:
    return AttackBatch(
        images=model.images(bench.images),
        labels=bench.labels.to(model.device),
        keys=tuple(range(len(bench.images))),
    )


def _fgsm(bench: Bench, model: PreparedModel) -> AttackResult:
    return attack_batch(model, _batch(bench, model), "fgsm", EPSILONS)


def _logits_and_gradient(model: PreparedModel, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits, and the gradient of the label's logit at the images."""
    classes = labels.to(model.device)
    logits, (gradient,) = model.gradients(images, [lambda each: logit_of(each, classes)])
    return logits, gradient


def _below(name: str, value: float, limit: float, note: str = "") -> Check:
    return Check(name=name, passed=value <= limit, note=f"{value:.2g}, at most {limit:g}{note}")
