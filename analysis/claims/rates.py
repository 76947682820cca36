"""Intervals of differences between two rates."""

import numpy as np

from analysis.claims.claim import Measurement
from analysis.intervals import wilson_interval


def rate(successes: float, count: float, subject: str = "") -> Measurement:
    """Return a share with its Wilson interval."""
    low, high = wilson_interval(successes, count)
    value = successes / count if count else float("nan")
    return Measurement(value=value, low=float(low), high=float(high), count=int(count), subject=subject)


def complement(measured: Measurement) -> Measurement:
    """Return the share of the other cases."""
    return Measurement(
        value=1 - measured.value,
        low=1 - measured.high,
        high=1 - measured.low,
        count=measured.count,
        subject=measured.subject,
    )


def rate_difference(one: Measurement, other: Measurement, subject: str = "") -> Measurement:
    """Return `one` minus `other` with an interval from both shares' own; `count` is the smaller of the two.

    Source: Newcombe 1998 (differences), method 10, for independent samples. For shares of the same images it errs
    on the wide side, as long as these agree more often than not.
    """
    difference = one.value - other.value
    down = np.hypot(one.value - one.low, other.high - other.value)
    up = np.hypot(one.high - one.value, other.value - other.low)
    return Measurement(
        value=difference,
        low=float(difference - down),
        high=float(difference + up),
        count=min(one.count, other.count),
        subject=subject,
    )
