"""The least ε at which an attack along a ray succeeds: the first success on a grid, then bisection."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch
from attrib_core.attacks.model import AttackedModel
from attrib_core.attacks.rays import Ray

# Success need not be monotone in ε: what is found is the first crossing that a grid this fine shows.
GRID: tuple[float, ...] = tuple(level / 255 for level in (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 255))


@dataclass(frozen=True)
class _Bracket:
    """For each image `[B]` an ε that fails and a larger one that succeeds, in float64."""

    low: Tensor
    high: Tensor


def minimum_epsilons(
    model: AttackedModel, batch: AttackBatch, clean_logits: Tensor, ray: Ray, tolerance: float
) -> Tensor:
    """The minima `[B]`, float64, each a success that is at most `tolerance` past a failure.

    0 where the clean image already counts as a success, NaN where nothing up to 1 does. Exact along the ray for a
    classifier that is linear there: margin/‖w‖₁ for the sign, margin·max|w|/‖w‖₂² for the max-normed gradient.
    """
    bracket = _bracket(model, batch, clean_logits, ray)
    low, high = bracket.low, bracket.high
    while (open_rows := (high - low > tolerance).nonzero()[:, 0]).numel():
        middle = (low[open_rows] + high[open_rows]) / 2
        logits = model.trusted_logits(ray.rows(open_rows).point(middle))
        success = succeeds(logits, batch, open_rows)
        high[open_rows] = torch.where(success, middle, high[open_rows])
        low[open_rows] = torch.where(success, low[open_rows], middle)
    return high


def succeeds(logits: Tensor, batch: AttackBatch, rows: Tensor) -> Tensor:
    """Whether the prediction of each row is not the label, or is the target."""
    prediction = logits.argmax(1)
    if batch.targets is not None:
        return prediction == batch.targets[rows]
    return prediction != batch.labels[rows]


def _bracket(model: AttackedModel, batch: AttackBatch, clean_logits: Tensor, ray: Ray) -> _Bracket:
    """Walks along the grid with the images that have not succeeded yet."""
    everyone = torch.arange(len(batch.images), device=clean_logits.device)
    high = torch.full((len(everyone),), torch.nan, dtype=torch.float64, device=clean_logits.device)
    high[succeeds(clean_logits, batch, everyone)] = 0.0
    low = high.clone()
    for below, epsilon in itertools.pairwise(GRID):
        rows = high.isnan().nonzero()[:, 0]
        if not len(rows):
            break
        logits = model.trusted_logits(ray.rows(rows).point(epsilon))
        found = rows[succeeds(logits, batch, rows)]
        low[found], high[found] = below, epsilon
    return _Bracket(low, high)
