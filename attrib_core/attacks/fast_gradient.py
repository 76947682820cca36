"""Attacks along a ray: one gradient gives a direction, and every ε is a point on it.

`g` is the gradient of the cross-entropy of the label; for a targeted attack it is the negative gradient of the
target's. Where it vanishes, `loss_gradient` says what is followed instead. An adversarial image is
image + ε · direction(g).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.batch import (
    AttackBatch,
    AttackSettings,
    Attempt,
    Clean,
    Failures,
    Method,
    Norm,
    Passes,
)
from attrib_core.attacks.loss_gradient import Gradient, gradient_at, no_gradient
from attrib_core.prepared import PreparedModel
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


def l2_normed(gradient: Tensor) -> Tensor:
    """Return g / ‖g‖₂ of each image; zero where the gradient is."""
    # The squares of a tiny gradient would be zero.
    scaled = max_normed(gradient)
    return _divided(scaled, l2_norms(scaled))


def l2_norms(values: Tensor) -> Tensor:
    """Return the Euclidean norm of each image's values `[B, C, H, W]`, as `[B, 1, 1, 1]`."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norms.view(-1, 1, 1, 1)


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

    With `alone`, ε · direction(g) by itself. Without a direction, random signs, which need no gradient. `norm` is
    the one in which directions have length 1.
    """

    direction: Direction | None
    alone: bool = False
    norm: Norm = "linf"

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        failures = Failures(batch)
        find = no_gradient if self.direction is None else gradient_at
        gradient = find(model, batch, batch.images, failures)
        ray = self.ray(batch, gradient, settings)
        stays = batch.images if ray.start is batch.images else None
        return Attempt(
            clean=Clean(batch.images, gradient.logits),
            direction=ray.direction,
            epsilons=torch.tensor(epsilons, dtype=torch.float64).expand(len(batch.images), -1),
            points=(
                stays if epsilon == 0 and stays is not None else ray.point(epsilon) for epsilon in epsilons
            ),
            zero_gradient=gradient.zero,
            fallbacks=[gradient.fallback] * len(epsilons),
            passes=[Passes(gradient.num_passes, gradient.num_passes)] * len(epsilons),
            failures=failures,
        )

    def ray(self, batch: AttackBatch, gradient: Gradient, settings: AttackSettings) -> Ray:
        """Return the ray of each image, given its gradient."""
        if self.direction is None:
            direction = random_signs(batch.images, batch.keys, settings.seed)
        else:
            direction = self.direction(batch.uphill * gradient.values)
        start = torch.zeros_like(batch.images) if self.alone else batch.images
        return Ray(start, direction, settings.clip)
