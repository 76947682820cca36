"""The attacks by name and by reference. Another direction along a ray is another entry of `METHODS`."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from attrib_core.attacks.adapters import FAMILIES, find_attack
from attrib_core.attacks.batch import AttackBatch, AttackResult, AttackSettings, Keep, Method
from attrib_core.attacks.checks import check_batch, check_request
from attrib_core.attacks.fast_gradient import AlongRay, l2_normed, max_normed, max_normed_signed, sign
from attrib_core.attacks.iterated import Iterated
from attrib_core.attacks.minimum import MinimumAlongRay
from attrib_core.attacks.momentum import Momentum
from attrib_core.attacks.own_settings import with_settings
from attrib_core.attacks.results import result_of, with_rows
from attrib_core.attacks.victims import Onlooker, shown
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_tensor
from attrib_core.numerics import gradients_enabled
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


@gradients_enabled()
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
    keep: Keep | Sequence[int] = (),
    onlookers: Sequence[Onlooker] = (),
) -> AttackResult:
    """Attack a batch whose images have keys of their own; the result holds adversarial images of the rows `keep`.

    Onlookers, who have seen the clean images, are shown the adversarial ones. The batch's images are never written
    to. Raises ValueError: see `method_named`, `check_request`, `check_batch`, `check_logits`; ForeignAttackError
    where somebody else's attack fails.
    """
    check_batch(model.classifier, batch)
    return attack_checked(model, batch, method, epsilons, settings, keep, onlookers)


def attack_checked(
    model: PreparedModel,
    batch: AttackBatch,
    method: str,
    epsilons: Sequence[float],
    settings: AttackSettings | None = None,
    keep: Keep | Sequence[int] = (),
    onlookers: Sequence[Onlooker] = (),
) -> AttackResult:
    """Do what `attack_batch` does, without a look at images and labels, for which a GPU would make the host wait.

    On a GPU the host waits twice: for which images need a second look, and for the result. Images that need more,
    because their gradient vanishes or is no number, are attacked again, and for them it waits more often.
    """
    found = method_named(method)
    check_request(method, found, epsilons, batch.images.shape[1:], targeted=batch.targets is not None)
    settings = settings or AttackSettings()
    keep = keep if isinstance(keep, Keep) else Keep(images=tuple(keep))
    hopeful = batch.images.device.type != "cpu" and not found.sees_neighbours
    attempt = found.attempt(model, replace(batch, hopeful=hopeful), epsilons, settings)
    attempt = replace(attempt, points=shown(attempt.points, onlookers))
    result, unsettled = result_of(model, batch, attempt, settings, keep)
    if not unsettled:
        return result
    again = found.attempt(model, chosen := batch.rows(unsettled), epsilons, settings)
    others = [onlooker.again(chosen.images) for onlooker in onlookers]
    again = replace(again, points=shown(again.points, others))
    settled, _ = result_of(model, chosen, again, settings, keep.among(unsettled))
    for onlooker, other in zip(onlookers, others, strict=True):
        onlooker.replace(unsettled, other)
    return with_rows(result, unsettled, settled, keep)
