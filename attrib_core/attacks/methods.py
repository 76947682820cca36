"""The attacks by name. Another direction along a ray is another entry of `METHODS`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch, AttackResult, AttackSettings, check_batch, check_epsilons
from attrib_core.attacks.directions import Direction, max_normed, max_normed_signed, random_signs, sign
from attrib_core.attacks.inspection import Clean, inspect
from attrib_core.attacks.iterated import iterate
from attrib_core.attacks.minimum import minimum_epsilons
from attrib_core.attacks.model import AttackedModel, cross_entropy, predictions
from attrib_core.attacks.rays import Ray


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attack on one batch: the adversarial images at each ε, one after the other."""

    clean: Clean
    gradient: Tensor | None  # [B, C, H, W]; None where the method needs none
    direction: Tensor | None  # [B, C, H, W]; None where there is none that all ε share
    epsilons: Tensor  # [B, E] float64, NaN where none succeeds
    points: Iterator[Tensor]  # E times [B, C, H, W]


class Method(ABC):
    """A way to make adversarial images."""

    seeks_minimum: bool = False  # whether it finds the one ε of each image itself

    @abstractmethod
    def attempt(
        self, model: AttackedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        """The attack's adversarial images, made as they are asked for."""

    def describe(self, settings: AttackSettings) -> str:
        """What its rows depend on besides ε and what all methods share, in words; empty if nothing."""
        return ""


@dataclass(frozen=True)
class AlongRay(Method):
    """image + ε · direction; or `alone`, ε · direction by itself. No direction: random signs, and no gradient."""

    direction: Direction | None
    alone: bool = False

    def attempt(
        self, model: AttackedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        clean, gradient = _clean(model, batch, needs_gradient=self.direction is not None)
        ray = self.ray(batch, gradient, settings)
        return Attempt(
            clean=clean,
            gradient=gradient,
            direction=ray.direction,
            epsilons=torch.tensor(epsilons, dtype=torch.float64).expand(len(batch.images), -1),
            points=(ray.point(epsilon) for epsilon in epsilons),
        )

    def ray(self, batch: AttackBatch, gradient: Tensor | None, settings: AttackSettings) -> Ray:
        """The ray of each image, given its gradient."""
        if self.direction is None or gradient is None:
            direction = random_signs(batch.images, batch.keys, settings.seed)
        else:
            direction = self.direction(batch.uphill * gradient)
        start = torch.zeros_like(batch.images) if self.alone else batch.images
        return Ray(start, direction, settings.clip)


@dataclass(frozen=True)
class MinimumAlongRay(Method):
    """The least ε along a direction's ray; the ε of the sweep play no part."""

    along: AlongRay
    seeks_minimum = True

    def describe(self, settings: AttackSettings) -> str:
        return f"tolerance {settings.tolerance:g}"

    def attempt(
        self, model: AttackedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        clean, gradient = _clean(model, batch, needs_gradient=True)
        ray = self.along.ray(batch, gradient, settings)
        minima = minimum_epsilons(model, batch, clean.logits, ray, settings.tolerance)
        return Attempt(
            clean=clean,
            gradient=gradient,
            direction=ray.direction,
            epsilons=minima[:, None].cpu(),
            points=iter([ray.point(minima.nan_to_num(1.0))]),
        )


@dataclass(frozen=True)
class Iterated(Method):
    """Many small steps for each ε, from the image or from a random point near it."""

    random_start: bool

    def describe(self, settings: AttackSettings) -> str:
        step = "2.5 epsilon / steps" if settings.step_size is None else f"{settings.step_size:g}"
        return f"{settings.num_steps} steps of {step}"

    def attempt(
        self, model: AttackedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        clean, gradient = _clean(model, batch, needs_gradient=True)
        random_start = self.random_start
        return Attempt(
            clean=clean,
            gradient=gradient,
            direction=None,
            epsilons=torch.tensor(epsilons, dtype=torch.float64).expand(len(batch.images), -1),
            points=(
                iterate(model, batch, epsilon, settings, random_start=random_start) for epsilon in epsilons
            ),
        )


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
    model: AttackedModel,
    batch: AttackBatch,
    method: str,
    epsilons: Sequence[float],
    settings: AttackSettings | None = None,
    keep: Sequence[int] = (),
) -> AttackResult:
    """Attacks a batch by a method of `METHODS` at every ε, in pixel units of [0, 1].

    Rows of the batch listed in `keep` have their adversarial images in the result. The batch's images are never
    written to. Raises ValueError for images, labels, ε or outputs that cannot be: see `check_batch`,
    `check_epsilons` and `check_logits`.
    """
    check_batch(model.classifier, batch)
    check_epsilons(epsilons)
    if method not in METHODS:
        raise ValueError(f"method={method!r}: accepted are {', '.join(METHODS)}")
    settings = settings or AttackSettings()
    attempt = METHODS[method].attempt(model, batch, epsilons, settings)
    return _result(model, batch, attempt, settings, list(keep))


def _clean(model: AttackedModel, batch: AttackBatch, *, needs_gradient: bool) -> tuple[Clean, Tensor | None]:
    if needs_gradient:
        logits, gradient = model.gradient(batch.images, batch.loss_labels)
        return Clean(batch.images, logits), gradient
    return Clean(batch.images, model.exact_logits(batch.images)), None


def _result(
    model: AttackedModel, batch: AttackBatch, attempt: Attempt, settings: AttackSettings, keep: list[int]
) -> AttackResult:
    kept: list[Tensor] = []

    def points() -> Iterator[Tensor]:
        for images in attempt.points:
            kept.append(images[keep].cpu())
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
        kept=torch.stack(kept, 1),
    )


def _is_zero(attempt: Attempt, count: int) -> Tensor:
    """Whether the gradient of each image vanishes: then no step can be taken along it."""
    if attempt.gradient is None:
        return torch.zeros(count, dtype=torch.bool)
    return (attempt.gradient == 0).flatten(1).all(1).cpu()
