"""The smallest ε at which an attack along a ray succeeds: the first success on a grid, then bisection."""

import itertools
import math
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
from attrib_core.attacks.loss_gradient import NOT_FINITE, finite_logits, gradient_at, is_finite
from attrib_core.host_copies import host_copies
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
        failures = Failures(batch)
        gradient = gradient_at(model, batch, batch.images, failures)
        ray = self.along.ray(batch, gradient, settings)
        largest = largest_epsilon(self.along.norm, batch.images.shape[1:])
        walk = _Walk(model, batch, ray, failures, largest)
        minima = walk.minimum_epsilons(gradient.logits, settings.tolerance)
        return Attempt(
            clean=Clean(batch.images, gradient.logits),
            direction=ray.direction,
            epsilons=minima[:, None],
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
        # Two neighbours among float64 have no middle: what asks for less would halve them for ever.
        tolerance = max(tolerance, math.ulp(self.largest))
        while (rows := self._rows(high - low > tolerance)) is not None:
            middle = (low[rows] + high[rows]) / 2
            success = self._succeeds(rows, middle)
            high[rows] = torch.where(success, middle, high[rows])
            low[rows] = torch.where(success, low[rows], middle)
        return high

    def _bracket(self, clean_logits: Tensor) -> _Bracket:
        """Walk along the grid with the images that have not succeeded yet."""
        succeeds = self.batch.succeeds(clean_logits)
        high = torch.where(succeeds, 0.0, torch.nan).double()
        low = high.clone()
        for below, epsilon in itertools.pairwise(self.largest * share for share in GRID):
            rows = self._rows(high.isnan())
            if rows is None:
                break
            success = self._succeeds(rows, epsilon)
            low[rows] = torch.where(success, below, low[rows])
            high[rows] = torch.where(success, epsilon, high[rows])
        return _Bracket(low, high)

    def _rows(self, wanted: Tensor) -> Tensor | None:
        """Return the rows that are wanted `[B]`, None if none is. The host waits for this alone, once a round."""
        [found] = host_copies([wanted])
        rows = found.nonzero()[:, 0]
        return self.model.execution.to_device(rows) if len(rows) else None

    def _succeeds(self, rows: Tensor, epsilon: float | Tensor) -> Tensor:
        """Return whether the attack on each of these images succeeds at ε; note those whose logits fail."""
        points = self.ray.rows(rows).point(epsilon)
        self.num_tries[rows] += 1
        logits = finite_logits(self.model, points, self.model.logits(points), self.failures, rows)
        reason = f"its logits on the way to its minimum ε hold {NOT_FINITE}"
        self.failures.note(~is_finite(logits), reason, rows)
        return self.batch.succeeds(logits, rows)
