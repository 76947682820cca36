"""Attacks along a ray: one gradient gives a direction, and every ε is a point on it.

`g` is the gradient of the cross-entropy of the label; for a targeted attack it is the negative gradient of the
target's. An adversarial image is image + ε · direction(g).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch, AttackSettings, Attempt, Clean, Method
from attrib_core.classifiers.checks import check_logits
from attrib_core.prepared import PreparedModel, joined, loss_of
from attrib_core.seeding import Randomness

Direction = Callable[[Tensor], Tensor]


def sign(gradient: Tensor) -> Tensor:
    """Return sign(g), `[B, C, H, W]` in {-1, 0, 1}. Goodfellow et al. 2014, arXiv:1412.6572."""
    return gradient.sign()


def max_normed(gradient: Tensor) -> Tensor:
    """Return g / max|g| of each image, in [-1, 1]; zero where the gradient is."""
    return _divided(gradient, gradient.abs().amax((1, 2, 3), keepdim=True))


def max_normed_signed(gradient: Tensor) -> Tensor:
    """Return g / max(g) of each image, as the original work has it; its sign turns if every entry is negative.

    Zero where max(g) is, for which the original divides by zero.
    """
    return _divided(gradient, gradient.amax((1, 2, 3), keepdim=True))


def _divided(gradient: Tensor, divisor: Tensor) -> Tensor:
    return torch.where(divisor == 0, 0.0, gradient / divisor)


def random_signs(images: Tensor, keys: tuple[int, ...], seed: int) -> Tensor:
    """Draw ±1 for each pixel, from a generator of the image's own: (seed, key)."""
    randomness = Randomness([(seed, "random_sign", key) for key in keys], images.device)
    return torch.where(randomness.uniform(0, 1, *images.shape[1:]) < 0.5, -1.0, 1.0)


@dataclass(frozen=True)
class Ray:
    """Points `start + ε · direction`, all `[B, C, H, W]`, kept in [0, 1] if `clip` says so."""

    start: Tensor
    direction: Tensor
    clip: bool

    def point(self, epsilon: float | Tensor) -> Tensor:
        """Return the points at one ε, or at one for each image `[B]`, in memory of their own."""
        if isinstance(epsilon, Tensor):
            point = self.start + epsilon.to(self.start.dtype).view(-1, 1, 1, 1) * self.direction
        else:
            point = torch.add(self.start, self.direction, alpha=epsilon)
        return point.clamp_(0, 1) if self.clip else point

    def rows(self, chosen: Tensor) -> "Ray":
        """Return the rays of some of the images."""
        return Ray(self.start[chosen], self.direction[chosen], self.clip)


@dataclass(frozen=True)
class AlongRay(Method):
    """image + ε · direction(g).

    With `alone`, ε · direction(g) by itself. Without a direction, random signs, which need no gradient.
    """

    direction: Direction | None
    alone: bool = False

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        clean, gradient = clean_pass(model, batch, needs_gradient=self.direction is not None)
        ray = self.ray(batch, gradient, settings)
        return Attempt(
            clean=clean,
            gradient=gradient,
            direction=ray.direction,
            epsilons=torch.tensor(epsilons, dtype=torch.float64).expand(len(batch.images), -1),
            points=(ray.point(epsilon) for epsilon in epsilons),
        )

    def ray(self, batch: AttackBatch, gradient: Tensor | None, settings: AttackSettings) -> Ray:
        """Return the ray of each image, given its gradient."""
        if self.direction is None or gradient is None:
            direction = random_signs(batch.images, batch.keys, settings.seed)
        else:
            direction = self.direction(batch.uphill * gradient)
        start = torch.zeros_like(batch.images) if self.alone else batch.images
        return Ray(start, direction, settings.clip)


def clean_pass(
    model: PreparedModel, batch: AttackBatch, *, needs_gradient: bool
) -> tuple[Clean, Tensor | None]:
    """Return the clean images with their logits and, from the same forward pass, the loss gradient if needed."""
    if not needs_gradient:
        return Clean(batch.images, model.exact_logits(batch.images)), None
    logits, gradient = loss_gradient(model, batch.images, batch.loss_labels)
    return Clean(batch.images, logits), gradient


def loss_gradient(model: PreparedModel, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits `[B, K]`, and the gradient `[B, C, H, W]` of each image's own cross-entropy.

    Raises ValueError where the classifier does not answer with logits.
    """
    gradients: dict[int, Tensor] = {}

    def run(rows: range) -> Tensor:
        part = slice(rows.start, rows.stop)
        logits, (gradients[rows.start],) = model.gradients(
            images[part], [partial(loss_of, classes=classes[part])]
        )
        return logits

    logits = joined(model.in_passes(len(images), run))
    check_logits(logits, model.classifier.name)
    return logits, joined(list(gradients.values()))
