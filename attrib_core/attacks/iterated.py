"""Attacks that take many small steps and stay within ε of the image: BIM, and PGD in two norms.

After its start nothing is random, so an image that comes back to where it was goes round for ever
(arXiv:2503.19347). Then the rest of its steps is known: it takes those that are left of the last round, and leaves
the batch.
"""

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
from attrib_core.attacks.loss_gradient import Gradient, gradient_at
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
    images_leave = True
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
        if epsilon == 0:
            nothing = torch.zeros(len(batch.images), dtype=torch.long, device=batch.images.device)
            return batch.images, nothing > 0, nothing
        step_size = settings.step_size or 2.5 * epsilon / settings.num_steps
        images = batch.images
        if drawn is not None:
            images = start_in_ball(batch, epsilon, settings, self.norm, drawn)
        path = _Path(images, settings.num_steps)
        for step in range(settings.num_steps):
            # To ask who is still on the way is free on a CPU.
            rows = None if batch.hopeful else path.rows_left()
            if rows is not None and len(rows) == 0:
                break
            where = f" before step {step + 1} at ε = {epsilon:g}"
            images, clean = (each if rows is None else each[rows] for each in (path.images, batch.images))
            gradient = gradient_at(self.model, batch, images, self.failures, where, rows)
            images = images + batch.uphill * step_size * ball.direction(gradient.values)
            path.go(projected(images, clean, epsilon, settings, ball), gradient, rows)
            if not batch.hopeful:
                path.look_for_rounds(step + 1)
        return path.images, path.fallback, path.num_passes


class _Path:
    """Where the images of a batch are, how many steps each has left, and what they took so far."""

    def __init__(self, images: Tensor, num_steps: int) -> None:
        self.images = images  # [B, C, H, W]
        self.fallback = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.num_passes = torch.zeros(len(images), dtype=torch.long, device=images.device)
        self._left = torch.full_like(self.num_passes, num_steps)
        # As Brent's search for cycles has it, a place is remembered after 1, 2, 4, 8 ... steps.
        self._place, self._passes_there, self._step_there = images, self.num_passes.clone(), 0

    def rows_left(self) -> Tensor | None:
        """Return the rows `[N]` that have steps left, None if all have."""
        on_the_way = self._left > 0
        return None if on_the_way.all() else on_the_way.nonzero()[:, 0]

    def go(self, images: Tensor, gradient: Gradient, rows: Tensor | None) -> None:
        """Take a step with the images of some rows, or of all."""
        if rows is None:
            self.images = images
            rows_taken: Tensor | slice = slice(None)
        else:
            self.images, rows_taken = self.images.index_copy(0, rows, images), rows
        self.fallback[rows_taken] |= gradient.fallback
        self.num_passes[rows_taken] += gradient.num_passes
        self._left[rows_taken] -= 1

    def look_for_rounds(self, step: int) -> None:
        """Have the images that are back where they were take no whole round any more. Its passes count."""
        length = step - self._step_there
        back = (self.images == self._place).flatten(1).all(1)
        rounds = torch.where(back, self._left // length, 0)
        self.num_passes += rounds * (self.num_passes - self._passes_there)
        self._left -= rounds * length
        if step & (step - 1) == 0:
            self._place, self._passes_there, self._step_there = self.images, self.num_passes.clone(), step


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
