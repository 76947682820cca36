"""The attacks by name. Another direction along a ray is another entry of `METHODS`."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attrib_core.attacks.batch import (
    AttackBatch,
    AttackResult,
    AttackSettings,
    Attempt,
    Method,
    check_batch,
    check_epsilons,
)
from attrib_core.attacks.fast_gradient import AlongRay, max_normed, max_normed_signed, sign
from attrib_core.attacks.inspection import cross_entropy, inspect, predictions
from attrib_core.attacks.iterated import Iterated
from attrib_core.attacks.minimum import MinimumAlongRay
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_tensor
from attrib_core.prepared import PreparedModel, prepared

METHODS: dict[str, Method] = {
    "fgsm": AlongRay(sign),
    "max_norm": AlongRay(max_normed),
    "max_norm_signed": AlongRay(max_normed_signed),
    "random_sign": AlongRay(None),
    "gradient_alone": AlongRay(sign, alone=True),
    "bim": Iterated(random_start=False),
    "pgd": Iterated(random_start=True),
    "minimum_fgsm": MinimumAlongRay(AlongRay(sign)),
    "minimum_max_norm": MinimumAlongRay(AlongRay(max_normed)),
}


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
    """Attack images `[B, C, H, W]` in [0, 1] by a method of `METHODS` at every ε, in pixel units of [0, 1].

    `labels` and `targets` are classes `[B]`; without targets the attack is untargeted. The result holds all
    adversarial images. Raises ValueError for images, labels, ε or outputs that cannot be.
    """
    model = prepared(model, images, len(images))
    for name, classes in (("labels", labels), ("targets", targets)):
        if classes is not None:
            check_tensor(name, classes)
    batch = AttackBatch(
        images=model.images(images.float()),
        labels=labels.to(model.device),
        targets=None if targets is None else targets.to(model.device),
        keys=tuple(range(len(images))),
    )
    return attack_batch(model, batch, method, epsilons, settings, keep=batch.keys)


def attack_batch(
    model: PreparedModel,
    batch: AttackBatch,
    method: str,
    epsilons: Sequence[float],
    settings: AttackSettings | None = None,
    keep: Sequence[int] = (),
) -> AttackResult:
    """Attack a batch whose images have keys of their own; the result holds adversarial images of the rows `keep`.

    The batch's images are never written to. Raises ValueError: see `check_batch`, `check_epsilons`,
    `check_logits`.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: accepted are {', '.join(METHODS)}")
    check_epsilons(epsilons)
    check_batch(model.classifier, batch)
    settings = settings or AttackSettings()
    attempt = METHODS[method].attempt(model, batch, epsilons, settings)
    return _result(model, batch, attempt, settings, list(keep))


def _result(
    model: PreparedModel, batch: AttackBatch, attempt: Attempt, settings: AttackSettings, keep: list[int]
) -> AttackResult:
    adversarial_images: list[Tensor] = []

    def points() -> Iterator[Tensor]:
        for images in attempt.points:
            adversarial_images.append(images[keep].cpu())
            yield images

    seen = inspect(model, attempt.clean, points(), rounding=settings.rounding)
    labels = batch.labels
    return AttackResult(
        epsilons=attempt.epsilons,
        clean=predictions(attempt.clean.logits, labels),
        adversarial=predictions(seen.logits, labels[:, None]),
        loss=cross_entropy(seen.logits, batch.loss_labels[:, None]),
        linf=seen.linf.cpu(),
        l2=seen.l2.cpu(),
        rounded_prediction=seen.rounded_prediction.cpu(),
        rounded_linf=seen.rounded_linf.cpu(),
        zero_gradient=_is_zero(attempt, len(labels)),
        rechecked=seen.rechecked.cpu(),
        direction=None if attempt.direction is None else attempt.direction.cpu(),
        adversarial_images=torch.stack(adversarial_images, 1),
    )


def _is_zero(attempt: Attempt, count: int) -> Tensor:
    """Return for each image `[B]` whether its gradient is zero, so that the attack cannot move it."""
    if attempt.gradient is None:
        return torch.zeros(count, dtype=torch.bool)
    return (attempt.gradient == 0).flatten(1).all(1).cpu()
