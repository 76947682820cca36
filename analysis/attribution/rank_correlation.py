"""Spearman's rank correlation between attributions of an image."""

import numpy as np
from numpy.typing import NDArray


def rank_correlations(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Spearman's correlations `[N, M, M]` between the M maps `[N, M, D]` of each of N images.

    They are NaN where one of the two maps is constant.
    """
    ranks = average_ranks(maps)
    ranks -= ranks.mean(-1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=-1, keepdims=True)
    ranks /= np.where(norms > 0, norms, np.nan)
    correlations: NDArray[np.float64] = ranks @ ranks.swapaxes(-1, -2)
    return np.clip(correlations, -1, 1)


def average_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ranks from 0 along the last axis; equal values share the mean of their ranks.

    Attributions times the input are zero wherever the image is black, so many values are equal.
    """
    order = values.argsort(-1, kind="stable")
    ordered = np.take_along_axis(values, order, -1)
    # A run of equal values begins where `edge` or `changes` is true and ends before the next such place. The
    # running maximum spreads the first place of each run to the right, the running minimum its last to the left.
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*values.shape[:-1], 1), bool)
    places = np.arange(values.shape[-1], dtype=np.float64)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, changes], -1), places, 0), -1)
    last = np.where(np.concatenate([changes, edge], -1), places, places[-1])
    last = np.minimum.accumulate(last[..., ::-1], -1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, -1)
    return ranks
