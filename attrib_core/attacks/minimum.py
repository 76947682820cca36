"""The smallest ε at which an attack along a ray succeeds: the first success on a grid, then its root.

Between a failure and a success lies a root of the logits' lead: by how much the attack's class leads. It is found
by ITP (Oliveira and Takahashi 2021, ACM Transactions on Mathematical Software 47(1)), which guesses it by a
straight line and stays near enough to the middle that it never needs more than two rounds above bisection.
"""

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
from attrib_core.attacks.loss_gradient import (
    NOT_FINITE,
    finite_logits,
    gradient_at,
    is_finite,
    margin_loss_of,
)
from attrib_core.device_constants import constant
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
    images_leave = True
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
        walk = _Walk(model, batch, ray, failures, largest, gradient.logits.clone())
        minima = walk.minimum_epsilons(settings.tolerance)
        return Attempt(
            clean=Clean(batch.images, gradient.logits),
            direction=ray.direction,
            epsilons=minima[:, None],
            points=iter([ray.point(minima.nan_to_num(largest))]),
            zero_gradient=gradient.zero,
            fallbacks=[gradient.fallback],
            passes=[Passes(gradient.num_passes + walk.num_tries, gradient.num_passes)],
            failures=failures,
            point_logits=walk.logits,
        )


# ITP's constants: κ₁ and n₀ of the paper, whose κ₂ is 1 here. A guess moves towards the middle by this share of
# the bracket, so that both of its ends come near the root ...
TRUNCATION = 0.02
# ... and in the worst case so many rounds more than bisection are taken.
SLACK_ROUNDS = 2
# Guesses are at so many places of a bracket, so that the last bits of logits, which depend on the processor and on
# the size of a batch, hardly ever lead to another one.
PLACES = 64


@dataclass(frozen=True)
class _Bracket:
    """For each image `[B]` an ε that fails and a larger one that succeeds, with their leads, in float64.

    Where no success is known, the larger one is NaN.
    """

    low: Tensor
    high: Tensor
    low_lead: Tensor
    high_lead: Tensor

    @property
    def lengths(self) -> Tensor:
        """How long the bracket of each image is, NaN where no success is known."""
        return self.high - self.low

    def narrowed(self, rows: Tensor, epsilons: Tensor, success: Tensor, lead: Tensor) -> None:
        """Take what was found at an ε of each row `[N]` as one of its ends, in place."""
        for ends, leads, here in ((self.high, self.high_lead, success), (self.low, self.low_lead, ~success)):
            ends[rows] = torch.where(here, epsilons, ends[rows])
            leads[rows] = torch.where(here, lead, leads[rows])

    def guesses(self, longest: Tensor) -> Tensor:
        """Return where between the ends the root may be, `[B]`.

        Whichever end it becomes, the bracket is then at most half of what it may be now, `longest`.
        """
        middle = (self.low + self.high) / 2
        line = (self.high_lead * self.low - self.low_lead * self.high) / (self.high_lead - self.low_lead)
        # A lead may be infinite, and both may be zero where two logits are equal.
        offset = torch.where(line.isfinite(), line - middle, 0.0)
        reach = (longest - self.lengths).clamp(min=0) / 2
        shortened = (offset.abs() - TRUNCATION * self.lengths).clamp(min=0).minimum(reach)
        on_places = (shortened / self.lengths * PLACES).floor() / PLACES * self.lengths
        guess = middle + offset.sign() * on_places
        return torch.where((self.low < guess) & (guess < self.high), guess, middle)


@dataclass
class _Walk:
    """Points along the rays of a batch, tried for success."""

    model: PreparedModel
    batch: AttackBatch
    ray: Ray
    failures: Failures
    largest: float  # the last ε that is tried
    # [B, K]: at first of the clean images, in the end of the smallest success, or of the largest ε without one
    logits: Tensor
    num_tries: Tensor = field(init=False)  # [B], forward passes so far

    def __post_init__(self) -> None:
        images = self.batch.images
        self.num_tries = torch.zeros(len(images), dtype=torch.long, device=images.device)

    def minimum_epsilons(self, tolerance: float) -> Tensor:
        """Return the minima `[B]`, float64, each a success that is at most `tolerance` past a failure.

        0 where the clean image already counts as a success, NaN where nothing up to the largest ε does. Exact
        along the ray for a classifier that is linear there: margin/‖w‖₁ for the sign, margin·max|w|/‖w‖₂² for
        the max-normed gradient, margin/‖w‖₂ for g / ‖g‖₂.
        """
        succeeds, lead = self.batch.succeeds(self.logits), self._lead(self.logits)
        high = torch.where(succeeds, 0.0, torch.nan).double()
        bracket = _Bracket(torch.zeros_like(high), high, lead, lead.clone())
        # Two neighbours among float64 have no middle: what asks for less would halve them for ever.
        tolerance = max(tolerance, math.ulp(self.largest))
        grid = constant(_grid, high.device, self.largest)
        level, longest = torch.ones_like(high, dtype=torch.long), torch.full_like(high, torch.nan)
        # Some images walk along the grid while others are at their roots, so that passes are full.
        while (
            rows := self._rows(walks := self._walks(bracket, level), bracket.lengths > tolerance)
        ) is not None:
            longest = torch.where(longest.isnan(), _longest(bracket.lengths, tolerance), longest / 2)
            epsilons = torch.where(walks, grid[level.clamp(max=len(grid) - 1)], bracket.guesses(longest))
            success, lead = self._tried(rows, epsilons[rows], walks[rows])
            bracket.narrowed(rows, epsilons[rows], success, lead)
            level += walks
        return bracket.high

    @staticmethod
    def _walks(bracket: _Bracket, level: Tensor) -> Tensor:
        return bracket.high.isnan() & (level < len(GRID))

    def _rows(self, walks: Tensor, is_long: Tensor) -> Tensor | None:
        """Return the rows that are not done, None if none is left. The host waits for this alone, once a round."""
        [found] = host_copies([walks | is_long])
        rows = found.nonzero()[:, 0]
        return self.model.execution.to_device(rows) if len(rows) else None

    def _tried(self, rows: Tensor, epsilons: Tensor, walks: Tensor) -> tuple[Tensor, Tensor]:
        """Return whether the attack on each of these images succeeds at its ε, and by how much its class leads.

        Images whose logits fail are noted. `walks` `[N]`: which of them have no success yet.
        """
        points = self.ray.rows(rows).point(epsilons)
        self.num_tries[rows] += 1
        # Near a root every quick logit is in doubt, and guesses by rough ones would be other guesses.
        logits = finite_logits(self.model, points, self.model.exact_logits(points), self.failures, rows)
        reason = f"its logits on the way to its minimum ε hold {NOT_FINITE}"
        self.failures.note(~is_finite(logits), reason, rows)
        success = self.batch.succeeds(logits, rows)
        self.logits[rows] = torch.where((success | walks)[:, None], logits, self.logits[rows])
        return success, self._lead(logits, rows)

    def _lead(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return by how much each row's attack leads, float64: above 0 it succeeds, below 0 it does not."""
        return self.batch.uphill * margin_loss_of(logits.double(), self.batch.classes(rows))


def _grid(largest: float) -> Tensor:
    return torch.tensor(GRID, dtype=torch.float64) * largest


def _longest(lengths: Tensor, tolerance: float) -> Tensor:
    """Return how long brackets `[B]` may be at first, so that they shrink to the tolerance in time.

    That is in `SLACK_ROUNDS` more halvings than their lengths need.
    """
    halvings = (lengths / tolerance).clamp(min=1).log2().ceil()
    return tolerance * 2.0 ** (halvings + SLACK_ROUNDS)
