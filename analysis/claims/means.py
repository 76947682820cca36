"""Means over images, and over pairs of values of the same image."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.claims.claim import Measurement
from analysis.intervals import mean_interval

SHARE, CORRELATION = (0.0, 1.0), (-1.0, 1.0)
_ANYWHERE = (-math.inf, math.inf)


def mean(values: ArrayLike, subject: str = "", *, within: tuple[float, float] = _ANYWHERE) -> Measurement:
    """Return the mean with its 95 % interval. NaN does not count; fewer than two values have no interval.

    `within` are the bounds of what is measured: an interval does not reach beyond them.
    """
    value, low, high, count = (each.item() for each in mean_interval(values))
    low, high = (float(np.clip(each, *within)) for each in (low, high))
    return Measurement(value=value, low=low, high=high, count=count, subject=subject)


def paired_difference(
    rows: pd.DataFrame, *, of: str, between: str, pair: tuple[str, str], by: list[str], subject: str = ""
) -> list[Measurement]:
    """Return the mean of column `of` where `between` is the first of the pair, minus where it is the second.

    Pairs are rows with the same values of `by`. Return nothing if there are no pairs.
    """
    values = rows[rows[between].isin(pair)].pivot_table(index=by, columns=between, values=of, observed=True)
    if not set(pair) <= set(values.columns):
        return []
    differences = (values[pair[0]] - values[pair[1]]).dropna()
    return [mean(differences, subject)] if len(differences) else []
