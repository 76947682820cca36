"""Two rates of the same subjects: whether they differ, by McNemar's test, and by how much, with an interval."""

import numpy as np

from analysis.intervals import wilson_interval


def mcnemar(only_first: int, only_second: int) -> tuple[float, float]:
    """Return the two-sided p-values of McNemar's test, exact and mid-p.

    Of the subjects that differ, `only_first` have the property in the first measurement alone, `only_second` in
    the second. Were both rates the same, the smaller number would be binomial with probability 1/2. The exact
    p-value is too large on average; mid-p, which counts half the probability of what was observed, has nearly
    the size that it claims. Without any difference both are 1. Source: McNemar 1947; Fagerland, Lydersen and
    Laake 2013 (doi:10.1186/1471-2288-13-91), who recommend mid-p. Raise ValueError for a negative number.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"only_first is {only_first}, only_second {only_second}: give numbers of at least 0")
    total, smaller = only_first + only_second, min(only_first, only_second)
    if total == 0:
        return 1.0, 1.0
    # By logarithms: 2 to the power of a thousand differences is no double.
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    k = np.arange(smaller + 1)
    probabilities = np.exp(logs[total] - logs[k] - logs[total - k] - total * np.log(2))
    # Where both numbers are the same, the two tails overlap.
    exact = min(1.0, 2 * float(probabilities.sum()))
    return exact, min(1.0, 2 * float(probabilities.sum()) - float(probabilities[-1]))


def paired_difference(
    both: int, only_first: int, only_second: int, neither: int, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the first rate minus the second, and the bounds of its interval, in [-1, 1].

    The four numbers are of subjects that have the property in both measurements, in one alone, in none. NaN
    without any subject. Raise ValueError unless they are at least 0 and 0 < confidence < 1. Source: Newcombe
    1998, Statistics in Medicine 17:2635, method 10: Wilson's bounds of both rates, combined by the correlation
    of the pairs.
    """
    if min(both, only_first, only_second, neither) < 0:
        raise ValueError(
            f"numbers are {both}, {only_first}, {only_second}, {neither}: give numbers of at least 0"
        )
    total = both + only_first + only_second + neither
    if total == 0:
        return np.nan, np.nan, np.nan
    first, second = (both + only_first) / total, (both + only_second) / total
    (low_1, low_2), (high_1, high_2) = wilson_interval(
        [both + only_first, both + only_second], total, confidence=confidence
    )
    phi = _correlation(both, only_first, only_second, neither)
    below, above = (first - low_1, high_2 - second), (high_1 - first, second - low_2)
    difference = first - second
    low = difference - np.sqrt(_cosine_law(*below, phi))
    high = difference + np.sqrt(_cosine_law(*above, phi))
    return difference, float(max(low, -1.0)), float(min(high, 1.0))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return φ of the pairs; a positive one is corrected for continuity, as Newcombe does."""
    product = (
        float(both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    )
    if product == 0:
        return 0.0
    total = both + only_first + only_second + neither
    excess = float(both) * neither - float(only_first) * only_second
    if excess > 0:
        excess = max(excess - total / 2, 0.0)
    return float(excess / np.sqrt(product))


def _cosine_law(first: float, second: float, phi: float) -> float:
    return max(0.0, first**2 - 2 * phi * first * second + second**2)
