"""Attacks that take many small steps and stay within ε of the image: BIM, and PGD in two norms."""

import math
from collections.abc import Callable, Iterator, Sequence
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
from attrib_core.attacks.fast_gradient import Direction, l2_normed, l2_norms, sign
from attrib_core.attacks.loss_gradient import gradient_at
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import Randomness


@dataclass(frozen=True, kw_only=True)
class Ball:
    """The changes of a norm of at most ε: in which direction to step, how to come back, how to draw one."""

    direction: Direction
    projected: Callable[[Tensor, float], Tensor]  # changes `[B, C, H, W]` and ε
    drawn: Callable[
        [Randomness, Sequence[int]], Tensor
    ]  # uniformly from the ball of ε = 1, of shape `[C, H, W]`
    stream: str  # part of the key of its random numbers


def _scaled_back(changes: Tensor, epsilon: float) -> Tensor:
    # A change of nothing has no direction, and stays.
    return changes * (epsilon / l2_norms(changes).clamp(min=1e-12)).clamp(max=1)


def _drawn_from_cube(randomness: Randomness, shape: Sequence[int]) -> Tensor:
    return randomness.uniform(-1, 1, *shape)


def _drawn_from_sphere(randomness: Randomness, shape: Sequence[int]) -> Tensor:
    """Draw a direction from the normal distribution, and a radius whose volume is uniform."""
    directions = l2_normed(randomness.normal(*shape))
    return directions * randomness.uniform(0, 1, 1, 1, 1) ** (1 / math.prod(shape))


BALLS: dict[Norm, Ball] = {
    "linf": Ball(
        direction=sign,
        projected=lambda changes, epsilon: torch.clamp(changes, -epsilon, epsilon),
        drawn=_drawn_from_cube,
        stream="pgd",
    ),
    "l2": Ball(direction=l2_normed, projected=_scaled_back, drawn=_drawn_from_sphere, stream="pgd_l2"),
}


@dataclass(frozen=True)
class Iterated(Method):
    """Many small steps for each ε, from the image or from a random point near it."""

    random_start: bool
    norm: Norm = "linf"
    own_settings = ("num_steps", "step_size")

    def describe(self, settings: AttackSettings) -> str:
        step = "2.5 epsilon / steps" if settings.step_size is None else f"{settings.step_size:g}"
        return f"{settings.num_steps} steps of {step}"

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        failures = Failures(batch)
        climb = _Climb(model=model, batch=batch, settings=settings, failures=failures, norm=self.norm)
        # One draw serves every ε.
        drawn = drawn_in_ball(batch, settings, self.norm) if self.random_start else None
        return climbing(model, batch, epsilons, failures, lambda epsilon: climb.at(epsilon, drawn))


# Images `[B, C, H, W]` at an ε, which of them followed the margin's gradient, and how many passes each took.
Climb = Callable[[float], tuple[Tensor, Tensor, Tensor]]


def climbing(
    model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], failures: Failures, at: Climb
) -> Attempt:
    """Return an attack that climbs anew to each ε, by `at`."""
    fallbacks: list[Tensor] = []
    passes: list[Passes] = []
    clean = gradient_at(model, batch, batch.images, failures)

    def points() -> Iterator[Tensor]:
        for epsilon in epsilons:
            images, fallback, num_passes = at(epsilon)
            fallbacks.append(fallback)
            passes.append(Passes(num_passes, num_passes))
            yield images

    return Attempt(
        clean=Clean(batch.images, clean.logits),
        direction=None,
        epsilons=torch.tensor(epsilons, dtype=torch.float64).expand(len(batch.images), -1),
        points=points(),
        zero_gradient=clean.zero,
        fallbacks=fallbacks,
        passes=passes,
        failures=failures,
    )


@dataclass(frozen=True, kw_only=True)
class _Climb:
    """The steps of one batch at every ε."""

    model: PreparedModel
    batch: AttackBatch
    settings: AttackSettings
    failures: Failures
    norm: Norm

    def at(self, epsilon: float, drawn: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return adversarial images `[B, C, H, W]` at most ε from the clean ones, which of them `[B]` followed the
        margin's gradient at some step, and how many passes each took.

        Each step follows the gradient, its sign for the max norm and g / ‖g‖₂ for the Euclidean one, projects into
        the ε-ball and clips to [0, 1]. From the image itself it is the basic iterative method (Kurakin et al.
        2016, arXiv:1607.02533); from a random point of the ball, projected gradient descent (Madry et al. 2017,
        arXiv:1706.06083).
        """
        batch, settings, ball = self.batch, self.settings, BALLS[self.norm]
        fallback = torch.zeros(len(batch.images), dtype=torch.bool, device=batch.images.device)
        num_passes = torch.zeros(len(batch.images), dtype=torch.long, device=batch.images.device)
        if epsilon == 0:
            return batch.images, fallback, num_passes
        step_size = settings.step_size or 2.5 * epsilon / settings.num_steps
        images = batch.images
        if drawn is not None:
            images = start_in_ball(batch, epsilon, settings, self.norm, drawn)
        for step in range(settings.num_steps):
            where = f" before step {step + 1} at ε = {epsilon:g}"
            gradient = gradient_at(self.model, batch, images, self.failures, where)
            fallback |= gradient.fallback
            num_passes += gradient.num_passes
            images = images + batch.uphill * step_size * ball.direction(gradient.values)
            images = projected(images, batch.images, epsilon, settings, ball)
        return images, fallback, num_passes


def start_in_ball(
    batch: AttackBatch,
    epsilon: float,
    settings: AttackSettings,
    norm: Norm = "linf",
    drawn: Tensor | None = None,
) -> Tensor:
    """Return a point of each image's ball `[B, C, H, W]`; other ε give the same point, nearer or farther.

    `drawn` is what `drawn_in_ball` gives, by default drawn here.
    """
    change = drawn_in_ball(batch, settings, norm) if drawn is None else drawn
    return projected(batch.images + epsilon * change, batch.images, epsilon, settings, BALLS[norm])


def drawn_in_ball(batch: AttackBatch, settings: AttackSettings, norm: Norm) -> Tensor:
    """Draw a change `[B, C, H, W]` of each image, uniformly from the ball of ε = 1."""
    ball = BALLS[norm]
    randomness = Randomness([(settings.seed, ball.stream, key) for key in batch.keys], batch.images.device)
    return ball.drawn(randomness, batch.images.shape[1:])


def projected(images: Tensor, clean: Tensor, epsilon: float, settings: AttackSettings, ball: Ball) -> Tensor:
    """Return images `[B, C, H, W]` brought back into the ε-ball of the clean ones, and into [0, 1]."""
    inside = clean + ball.projected(images - clean, epsilon)
    return inside.clamp(0, 1) if settings.clip else inside
