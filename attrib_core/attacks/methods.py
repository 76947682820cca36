"""The attacks by name and by reference. Another direction along a ray is another entry of `METHODS`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from attrib_core.attacks.adapters import FAMILIES, find_attack
from attrib_core.attacks.batch import (
    AttackBatch,
    AttackResult,
    AttackSettings,
    Attempt,
    Method,
    Predictions,
    check_batch,
    check_request,
)
from attrib_core.attacks.fast_gradient import AlongRay, l2_normed, max_normed, max_normed_signed, sign
from attrib_core.attacks.inspection import Inspection, cross_entropy, inspect, norm_of, predictions
from attrib_core.attacks.iterated import Iterated
from attrib_core.attacks.loss_gradient import NOT_FINITE, note
from attrib_core.attacks.minimum import MinimumAlongRay
from attrib_core.attacks.momentum import Momentum
from attrib_core.attacks.own_settings import with_settings
from attrib_core.attacks.victims import Onlooker
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_tensor
from attrib_core.prepared import PreparedModel, prepared
from attrib_core.references import Reference, parse_reference, unknown
from attrib_core.user_code import is_code, kept_with_code

METHODS: dict[str, Method] = {
    "fgsm": AlongRay(sign),
    "max_norm": AlongRay(max_normed),
    "max_norm_signed": AlongRay(max_normed_signed),
    "random_sign": AlongRay(None),
    "gradient_alone": AlongRay(sign, alone=True),
    "bim": Iterated(random_start=False),
    "pgd": Iterated(random_start=True),
    "mifgsm": Momentum(decay=1.0),
    "dim": Momentum(decay=0.0, diverse=True),
    "tim": Momentum(decay=0.0, diverse=True, smoothed=True),
    "fgm_l2": AlongRay(l2_normed, norm="l2"),
    "pgd_l2": Iterated(random_start=True, norm="l2"),
    "minimum_fgsm": MinimumAlongRay(AlongRay(sign)),
    "minimum_fgm_l2": MinimumAlongRay(AlongRay(l2_normed, norm="l2")),
    "minimum_max_norm": MinimumAlongRay(AlongRay(max_normed)),
}


class UnknownMethodError(ValueError):
    """A name that is neither of our own methods, nor of a family, nor of a file or a module."""

    def __init__(self, field: str, reference: Reference) -> None:
        known = [*METHODS, *(f"{family}:NAME" for family in FAMILIES), "FILE.py:FUNCTION"]
        self.accepted = f"{', '.join(known)}; {unknown('method', reference.target, METHODS)}"
        super().__init__(f"{field}={str(reference)!r}: accepted are {self.accepted}")


@kept_with_code
def method_named(text: str, field: str = "method") -> Method:
    """Return the method that a reference names, with the settings that the reference brings.

    `pgd`, `pgd:num_steps=40`, `foolbox:L2DeepFoolAttack:steps=50`, `my_file.py:my_attack`. ValueError names the
    field, the reference and what would be accepted.
    """
    reference = parse_reference(field, text)
    if reference.name in METHODS and not reference.rest:
        return with_settings(METHODS[reference.name], field, reference)
    if reference.name in FAMILIES or is_code(reference):
        return find_attack(field, reference)
    raise UnknownMethodError(field, reference)


def attack(
    model: Classifier | PreparedModel,
    images: Tensor,
    labels: Tensor,
    method: str,
    *,
    epsilons: Sequence[float],
    targets: Tensor | None = None,
    settings: AttackSettings | None = None,
) -> AttackResult:
    """Attack images `[B, C, H, W]` in [0, 1] by a method at every ε, in pixel units of [0, 1].

    `method` is a reference: see `method_named`. An attack that finds the minimum has one ε, its own.

    `labels` and `targets` are classes `[B]`; without targets the attack is untargeted. The result holds all
    adversarial images, and in `failures` why an image could not be attacked. Raises ValueError for images,
    labels, ε or outputs that cannot be, and where no image could be attacked.
    """
    model = prepared(model, images, len(images))
    for name, classes in (("labels", labels), ("targets", targets)):
        if classes is not None:
            check_tensor(name, classes)
    batch = AttackBatch(
        images=model.images(images.float()),
        labels=_class_indices(labels, model.device),
        targets=None if targets is None else _class_indices(targets, model.device),
        keys=tuple(range(len(images))),
    )
    result = attack_batch(model, batch, method, epsilons, settings, keep=batch.keys)
    if all(result.failures):
        raise ValueError(f"{model.classifier.name}: {result.failures[0]}; no image can be attacked")
    return result


def _class_indices(classes: Tensor, device: torch.device) -> Tensor:
    """Return integers of any width as the 64 bits that torch's loss takes; the checks refuse other numbers."""
    is_integer = not (classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool)
    return classes.to(device, torch.long if is_integer else classes.dtype)


def attack_batch(
    model: PreparedModel,
    batch: AttackBatch,
    method: str,
    epsilons: Sequence[float],
    settings: AttackSettings | None = None,
    keep: Sequence[int] = (),
    onlookers: Sequence[Onlooker] = (),
) -> AttackResult:
    """Attack a batch whose images have keys of their own; the result holds adversarial images of the rows `keep`.

    Onlookers are shown the adversarial images of each ε. The batch's images are never written to. Raises
    ValueError: see `method_named`, `check_request`, `check_batch`, `check_logits`; ForeignAttackError where
    somebody else's attack fails.
    """
    found = method_named(method)
    check_request(method, found, epsilons, batch.images.shape[1:], targeted=batch.targets is not None)
    check_batch(model.classifier, batch)
    settings = settings or AttackSettings()
    attempt = found.attempt(model, batch, epsilons, settings)
    attempt = replace(attempt, points=_shown(attempt.points, onlookers))
    return _result(model, batch, attempt, settings, list(keep))


def _shown(points: Iterator[Tensor], onlookers: Sequence[Onlooker]) -> Iterator[Tensor]:
    for images in points:
        for onlooker in onlookers:
            onlooker.show(images)
        yield images


def _result(
    model: PreparedModel, batch: AttackBatch, attempt: Attempt, settings: AttackSettings, keep: list[int]
) -> AttackResult:
    adversarial_images: list[Tensor] = []

    def points() -> Iterator[Tensor]:
        for images in attempt.points:
            adversarial_images.append(images[keep].cpu())
            yield images

    seen = inspect(model, attempt.clean, points(), rounding=settings.rounding)
    note(attempt.failures, ~seen.finite.all(1), f"its logits under attack hold {NOT_FINITE}")
    labels = batch.labels
    result = AttackResult(
        epsilons=_epsilons(attempt, batch, seen),
        clean=predictions(attempt.clean.logits, labels),
        adversarial=predictions(seen.logits, labels[:, None]),
        loss=cross_entropy(seen.logits, batch.loss_labels[:, None]),
        linf=seen.linf.cpu(),
        l2=seen.l2.cpu(),
        l1=seen.l1.cpu(),
        l0=seen.l0.cpu(),
        rounded_prediction=seen.rounded_prediction.cpu(),
        rounded_linf=seen.rounded_linf.cpu(),
        num_forwards=torch.stack([each.forwards for each in attempt.passes], 1).double().cpu(),
        num_backwards=torch.stack([each.backwards for each in attempt.passes], 1).double().cpu(),
        zero_gradient=attempt.zero_gradient.cpu(),
        gradient_fallback=torch.stack(attempt.fallbacks, 1).cpu(),
        rechecked=seen.rechecked.cpu(),
        failures=tuple(attempt.failures.get(row) for row in range(len(labels))),
        direction=None if attempt.direction is None else attempt.direction.cpu(),
        adversarial_images=torch.stack(adversarial_images, 1),
    )
    return _without_failed(result) if attempt.failures else result


def _epsilons(attempt: Attempt, batch: AttackBatch, seen: Inspection) -> Tensor:
    """Return ε `[B, E]`: those of the attempt, or the norm of what it found where that succeeds."""
    if attempt.found_norm is None:
        return attempt.epsilons
    succeeds = torch.stack([batch.succeeds(logits) for logits in seen.logits.unbind(1)], 1)
    return norm_of(seen, attempt.found_norm).where(succeeds, torch.nan).cpu()


def _without_failed(result: AttackResult) -> AttackResult:
    """Return the result with no facts about images that could not be attacked: none passes for a robust one."""
    failed = torch.tensor([reason is not None for reason in result.failures])

    def blank(facts: Tensor, value: float) -> Tensor:
        return facts.masked_fill(failed.view(-1, *[1] * (facts.ndim - 1)), value)

    def blank_predictions(found: Predictions) -> Predictions:
        return Predictions(
            prediction=blank(found.prediction, -1),
            confidence=blank(found.confidence, torch.nan),
            margin=blank(found.margin, torch.nan),
        )

    return replace(
        result,
        epsilons=blank(result.epsilons, -1),
        clean=blank_predictions(result.clean),
        adversarial=blank_predictions(result.adversarial),
        loss=blank(result.loss, torch.nan),
        linf=blank(result.linf, torch.nan),
        l2=blank(result.l2, torch.nan),
        l1=blank(result.l1, torch.nan),
        l0=blank(result.l0, -1),
        num_forwards=blank(result.num_forwards, torch.nan),
        num_backwards=blank(result.num_backwards, torch.nan),
        rounded_prediction=blank(result.rounded_prediction, -1),
        rounded_linf=blank(result.rounded_linf, torch.nan),
    )
