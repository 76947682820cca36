"""The smallest ε at which an attack along a ray succeeds: the first success on a grid, then bisection."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch, AttackSettings, Attempt, Method
from attrib_core.attacks.fast_gradient import AlongRay, Ray, clean_pass
from attrib_core.prepared import PreparedModel

# Success need not be monotone in ε: what is found is the first crossing that a grid this fine shows.
GRID: tuple[float, ...] = tuple(level / 255 for level in (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 255))


@dataclass(frozen=True)
class MinimumAlongRay(Method):
    """The smallest ε along a direction's ray; the ε of the sweep play no part."""

    along: AlongRay
    seeks_minimum = True

    def describe(self, settings: AttackSettings) -> str:
        return f"tolerance {settings.tolerance:g}"

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        clean, gradient = clean_pass(model, batch, needs_gradient=True)
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
class _Bracket:
    """For each image `[B]` an ε that fails and a larger one that succeeds, in float64."""

    low: Tensor
    high: Tensor


def minimum_epsilons(
    model: PreparedModel, batch: AttackBatch, clean_logits: Tensor, ray: Ray, tolerance: float
) -> Tensor:
    """Return the minima `[B]`, float64, each a success that is at most `tolerance` past a failure.

    0 where the clean image already counts as a success, NaN where nothing up to 1 does. Exact along the ray for a
    classifier that is linear there: margin/‖w‖₁ for the sign, margin·max|w|/‖w‖₂² for the max-normed gradient.
    """
    bracket = _bracket(model, batch, clean_logits, ray)
    low, high = bracket.low, bracket.high
    while (open_rows := (high - low > tolerance).nonzero()[:, 0]).numel():
        middle = (low[open_rows] + high[open_rows]) / 2
        logits = model.logits(ray.rows(open_rows).point(middle))
        success = succeeds(logits, batch, open_rows)
        high[open_rows] = torch.where(success, middle, high[open_rows])
        low[open_rows] = torch.where(success, low[open_rows], middle)
    return high


def succeeds(logits: Tensor, batch: AttackBatch, rows: Tensor) -> Tensor:
    """Return whether the prediction of each row is not the label, or is the target."""
    prediction = logits.argmax(1)
    if batch.targets is not None:
        return prediction == batch.targets[rows]
    return prediction != batch.labels[rows]


def _bracket(model: PreparedModel, batch: AttackBatch, clean_logits: Tensor, ray: Ray) -> _Bracket:
    """Walk along the grid with the images that have not succeeded yet."""
    everyone = torch.arange(len(batch.images), device=clean_logits.device)
    high = torch.full((len(everyone),), torch.nan, dtype=torch.float64, device=clean_logits.device)
    high[succeeds(clean_logits, batch, everyone)] = 0.0
    low = high.clone()
    for below, epsilon in itertools.pairwise(GRID):
        rows = high.isnan().nonzero()[:, 0]
        if not len(rows):
            break
        logits = model.logits(ray.rows(rows).point(epsilon))
        found = rows[succeeds(logits, batch, rows)]
        low[found], high[found] = below, epsilon
    return _Bracket(low, high)
