"""The smallest ε at which an attack along a ray succeeds: the first success on a grid, then bisection."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attrib_core.attacks.batch import (
    AttackBatch,
    AttackSettings,
    Attempt,
    Clean,
    Failures,
    Method,
    Passes,
    largest_epsilon,
)
from attrib_core.attacks.fast_gradient import AlongRay, Ray
from attrib_core.attacks.loss_gradient import NOT_FINITE, finite_logits, gradient_at, is_finite, note
from attrib_core.prepared import PreparedModel

# Success need not be monotone in ε: what is found is the first crossing that a grid this fine shows. Its points
# are shares of the largest ε of the norm, which is 1 for the max norm.
GRID: tuple[float, ...] = tuple(level / 255 for level in (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 255))


@dataclass(frozen=True)
class MinimumAlongRay(Method):
    """The smallest ε along a direction's ray; the ε of the sweep play no part."""

    along: AlongRay
    seeks_minimum = True
    own_settings = ("tolerance",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", self.along.norm)

    def describe(self, settings: AttackSettings) -> str:
        return f"tolerance {settings.tolerance:g}"

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        failures: Failures = {}
        gradient = gradient_at(model, batch, batch.images, failures)
        ray = self.along.ray(batch, gradient, settings)
        largest = largest_epsilon(self.along.norm, batch.images.shape[1:])
        walk = _Walk(model, batch, ray, failures, largest)
        minima = walk.minimum_epsilons(gradient.logits, settings.tolerance)
        return Attempt(
            clean=Clean(batch.images, gradient.logits),
            direction=ray.direction,
            epsilons=minima[:, None].cpu(),
            points=iter([ray.point(minima.nan_to_num(largest))]),
            zero_gradient=gradient.zero,
            fallbacks=[gradient.fallback],
            passes=[Passes(gradient.num_passes + walk.num_tries, gradient.num_passes)],
            failures=failures,
        )


@dataclass(frozen=True)
class _Bracket:
    """For each image `[B]` an ε that fails and a larger one that succeeds, in float64."""

    low: Tensor
    high: Tensor


@dataclass
class _Walk:
    """Points along the rays of a batch, tried for success."""

    model: PreparedModel
    batch: AttackBatch
    ray: Ray
    failures: Failures
    largest: float  # the last ε that is tried
    num_tries: Tensor = field(init=False)  # [B], forward passes so far

    def __post_init__(self) -> None:
        images = self.batch.images
        self.num_tries = torch.zeros(len(images), dtype=torch.long, device=images.device)

    def minimum_epsilons(self, clean_logits: Tensor, tolerance: float) -> Tensor:
        """Return the minima `[B]`, float64, each a success that is at most `tolerance` past a failure.

        0 where the clean image already counts as a success, NaN where nothing up to the largest ε does. Exact
        along the ray for a classifier that is linear there: margin/‖w‖₁ for the sign, margin·max|w|/‖w‖₂² for
        the max-normed gradient, margin/‖w‖₂ for g / ‖g‖₂.
        """
        bracket = self._bracket(clean_logits)
        low, high = bracket.low, bracket.high
        while (open_rows := (high - low > tolerance).nonzero()[:, 0]).numel():
            middle = (low[open_rows] + high[open_rows]) / 2
            success = self._succeeds(open_rows, middle)
            high[open_rows] = torch.where(success, middle, high[open_rows])
            low[open_rows] = torch.where(success, low[open_rows], middle)
        return high

    def _bracket(self, clean_logits: Tensor) -> _Bracket:
        """Walk along the grid with the images that have not succeeded yet."""
        num_images = len(self.batch.images)
        high = torch.full((num_images,), torch.nan, dtype=torch.float64, device=clean_logits.device)
        high[self.batch.succeeds(clean_logits)] = 0.0
        low = high.clone()
        for below, epsilon in itertools.pairwise(self.largest * share for share in GRID):
            rows = high.isnan().nonzero()[:, 0]
            if not len(rows):
                break
            found = rows[self._succeeds(rows, epsilon)]
            low[found], high[found] = below, epsilon
        return _Bracket(low, high)

    def _succeeds(self, rows: Tensor, epsilon: float | Tensor) -> Tensor:
        """Return whether the attack on each of these images succeeds at ε; note those whose logits fail."""
        points = self.ray.rows(rows).point(epsilon)
        self.num_tries[rows] += 1
        logits = finite_logits(self.model, points, self.model.logits(points))
        failed = torch.zeros(len(self.batch.images), dtype=torch.bool, device=logits.device)
        failed[rows] = ~is_finite(logits)
        note(self.failures, failed, f"its logits on the way to its minimum ε hold {NOT_FINITE}")
        return self.batch.succeeds(logits, rows)
