"""Attacks that take many small steps and stay within ε of the image: BIM and PGD."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch, AttackSettings, Attempt, Clean, Failures, Method
from attrib_core.attacks.loss_gradient import gradient_at
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import Randomness


@dataclass(frozen=True)
class Iterated(Method):
    """Many small steps for each ε, from the image or from a random point near it."""

    random_start: bool

    def describe(self, settings: AttackSettings) -> str:
        step = "2.5 epsilon / steps" if settings.step_size is None else f"{settings.step_size:g}"
        return f"{settings.num_steps} steps of {step}"

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        failures: Failures = {}
        fallbacks: list[Tensor] = []
        clean = gradient_at(model, batch, batch.images, failures)

        def points() -> Iterator[Tensor]:
            for epsilon in epsilons:
                images, fallback = self._iterate(model, batch, epsilon, settings, failures)
                fallbacks.append(fallback)
                yield images

        return Attempt(
            clean=Clean(batch.images, clean.logits),
            direction=None,
            epsilons=torch.tensor(epsilons, dtype=torch.float64).expand(len(batch.images), -1),
            points=points(),
            zero_gradient=clean.zero,
            fallbacks=fallbacks,
            failures=failures,
        )

    def _iterate(
        self,
        model: PreparedModel,
        batch: AttackBatch,
        epsilon: float,
        settings: AttackSettings,
        failures: Failures,
    ) -> tuple[Tensor, Tensor]:
        """Return adversarial images `[B, C, H, W]` at most ε from the clean ones in any pixel, and which of them
        `[B]` followed the margin's gradient at some step.

        Each step follows the sign of the gradient, projects into the ε-ball and clips to [0, 1]. From the image
        itself it is the basic iterative method (Kurakin et al. 2016, arXiv:1607.02533); from a random point of
        the ball, projected gradient descent (Madry et al. 2017, arXiv:1706.06083).
        """
        fallback = torch.zeros(len(batch.images), dtype=torch.bool, device=batch.images.device)
        if epsilon == 0:
            return batch.images.clone(), fallback
        step_size = settings.step_size or 2.5 * epsilon / settings.num_steps
        images = start_in_ball(batch, epsilon, settings) if self.random_start else batch.images
        for step in range(settings.num_steps):
            where = f" before step {step + 1} at ε = {epsilon:g}"
            gradient = gradient_at(model, batch, images, failures, where)
            fallback |= gradient.fallback
            images = images + batch.uphill * step_size * gradient.values.sign()
            images = _projected(images, batch.images, epsilon, settings)
        return images, fallback


def start_in_ball(batch: AttackBatch, epsilon: float, settings: AttackSettings) -> Tensor:
    """Draw a point of each image's ball `[B, C, H, W]`, uniformly; other ε give the same point, nearer or
    farther.
    """
    randomness = Randomness([(settings.seed, "pgd", key) for key in batch.keys], batch.images.device)
    start = batch.images + epsilon * randomness.uniform(-1, 1, *batch.images.shape[1:])
    return _projected(start, batch.images, epsilon, settings)


def _projected(images: Tensor, clean: Tensor, epsilon: float, settings: AttackSettings) -> Tensor:
    inside = clean + torch.clamp(images - clean, -epsilon, epsilon)
    return inside.clamp(0, 1) if settings.clip else inside
