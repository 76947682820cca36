"""Confidence intervals of rates and of means."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson_interval(
    successes: ArrayLike, count: ArrayLike, *, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lower and upper bound of a binomial rate, in [0, 1], element by element.

    Without any trial the interval is [0, 1]. Raise ValueError unless 0 <= successes <= count and
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


def mean_interval(
    values: ArrayLike, *, axis: int = 0, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return mean, lower and upper bound of the mean, and count along an axis; NaN is a missing value.

    Normal theory: the mean plus and minus Student's t times s / sqrt(count). The mean of no value is NaN, and so
    are the bounds of fewer than two. Raise ValueError unless 0 < confidence < 1. Source: Student 1908.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95")
    array = np.asarray(values, dtype=float)
    known = ~np.isnan(array)
    count = known.sum(axis)
    divisor = np.where(count > 0, count, np.nan)
    mean = np.where(known, array, 0).sum(axis) / divisor
    squares = np.where(known, array - np.expand_dims(mean, axis), 0) ** 2
    deviation = np.sqrt(squares.sum(axis) / np.where(count > 1, count - 1, np.nan))
    return mean, *interval_of_moments(mean, deviation, count, confidence=confidence), count


def interval_of_moments(
    mean: ArrayLike, deviation: ArrayLike, count: ArrayLike, *, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lower and upper bound of means, as `mean_interval` does, from standard deviations and counts.

    A deviation is the root of the squares' sum by n - 1. Of fewer than two values the bounds are NaN.
    """
    n = np.asarray(count, dtype=float)
    freedom = np.where(n > 1, n - 1, np.nan)
    middle = np.asarray(mean, dtype=float)
    half_width = _student_t(freedom, confidence) * np.asarray(deviation, dtype=float) / np.sqrt(freedom + 1)
    return middle - half_width, middle + half_width


def quantile_interval(
    values: ArrayLike, share: float, *, seed: int = 0, num_resamples: int = 10_000, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return a quantile and its bootstrap percentile interval: the smallest value that `share` of all reach.

    Values may be infinite, and so may the quantile and its bounds; of no value all are NaN. The same seed gives
    the same interval. Raise ValueError unless 0 < share <= 1 and 0 < confidence < 1.

    The quantile of a resample is one of the n values. Which one is drawn directly, as quickly for a million values
    as for ten: the k-th of n uniform numbers is Beta(k, n - k + 1), and the number of values below it gives the
    place. Source: Efron 1979 (section 3: the bootstrap of the median).
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: give a number above 0 and up to 1, such as 0.5")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95")
    held = np.sort(np.asarray(values, dtype=float))
    n = len(held)
    if n == 0:
        return np.nan, np.nan, np.nan
    k = int(np.ceil(share * n))
    drawn = np.random.default_rng(seed).beta(k, n - k + 1, num_resamples)
    resampled = np.sort(held[np.minimum((drawn * n).astype(int), n - 1)])
    tail = (1 - confidence) / 2
    low, high = (resampled[min(int(each * num_resamples), num_resamples - 1)] for each in (tail, 1 - tail))
    return float(held[k - 1]), float(low), float(high)


def _student_t(freedom: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """Return the two-sided quantile of Student's t, exact for 1 and 2 degrees of freedom and to 0.2 % above.

    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    z, n = NormalDist().inv_cdf((1 + confidence) / 2), freedom
    series = (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )
    one, two = np.tan(np.pi * confidence / 2), confidence * np.sqrt(2 / (1 - confidence**2))
    quantile: NDArray[np.float64] = np.select([n == 1, n == 2], [one, two], series)
    return quantile
