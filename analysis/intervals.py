"""Confidence intervals of a rate."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson_interval(
    successes: ArrayLike, count: ArrayLike, *, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bound of a binomial rate, in [0, 1], element by element.

    Without any trial the interval is [0, 1]. Raises ValueError unless 0 <= successes <= count and
    0 < confidence < 1. Source: Wilson 1927; without continuity correction, method 3 of Newcombe 1998.
    """
    k, n = np.asarray(successes, dtype=float), np.asarray(count, dtype=float)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95")
    if not ((k >= 0) & (k <= n)).all():
        raise ValueError(f"successes is {k} of count {n}: give numbers with 0 <= successes <= count")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (k + z**2 / 2) / (n + z**2)
    # Where n is 0, k * (n - k) / n has no value of its own: nothing was observed, so nothing varies.
    half_width = z / (n + z**2) * np.sqrt(k * (n - k) / np.maximum(n, 1) + z**2 / 4)
    # At 0 and n successes the bound is exactly 0 or 1; rounding would leave it a hair off.
    low = np.where(k == 0, 0.0, centre - half_width)
    high = np.where(k == n, 1.0, centre + half_width)
    return low, high
