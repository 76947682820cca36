"""How alike two attribution maps of an image are: Spearman's rank correlation, SSIM and cosine."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.attribution.rank_correlation import average_ranks

Floats = NDArray[np.float64]

# By column: what a measure is called.
MEASURES = {
    "spearman": "Spearman",
    "spearman_absolute": "Spearman of |map|",
    "ssim": "SSIM of |map|",
    "cosine": "cosine of |map|",
}

# Wang et al. 2004: constants for values in [0, 1].
_C1, _C2 = 0.01**2, 0.03**2
_WINDOW = 7


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Maps of N images as the measures need them; NaN where a map is constant or holds what is no number.

    `ranks` and `absolute_ranks` `[N, D]` are centred and of length 1; `absolute` `[N, H, W]` is |map| in [0, 1],
    each map divided by its largest value.
    """

    ranks: Floats
    absolute_ranks: Floats
    absolute: Floats

    def shuffled(self, seeds: NDArray[np.integer]) -> "Maps":
        """Return the maps with their values in random order over the pixels that are not 0, by a seed each.

        What is left of a map is its zeros and the distribution of its values.
        """
        flat = _flat(self.absolute)
        order = np.tile(np.arange(flat.shape[1]), (len(flat), 1))
        for places, values, seed in zip(order, flat, seeds, strict=True):
            held = np.flatnonzero(values)
            places[held] = np.random.default_rng(int(seed)).permutation(held)
        taken = [np.take_along_axis(each, order, -1) for each in (self.ranks, self.absolute_ranks, flat)]
        return Maps(ranks=taken[0], absolute_ranks=taken[1], absolute=taken[2].reshape(self.absolute.shape))

    def __getitem__(self, places: NDArray[np.integer]) -> "Maps":
        return Maps(
            ranks=self.ranks[places],
            absolute_ranks=self.absolute_ranks[places],
            absolute=self.absolute[places],
        )


def prepared_maps(maps: NDArray[np.floating]) -> Maps:
    """Return maps `[N, H, W]`, channels summed, as the measures need them."""
    values = maps.astype(np.float64)
    flat = _flat(values)
    usable = np.isfinite(flat).all(-1)
    values = np.where(usable[:, None, None], values, 0)
    usable &= np.ptp(_flat(values), axis=-1) > 0
    sizes = np.abs(values)
    largest = sizes.max((-2, -1), keepdims=True)
    return Maps(
        ranks=_unit_ranks(values),
        absolute_ranks=_unit_ranks(sizes),
        absolute=np.where(usable[:, None, None], sizes / np.where(largest > 0, largest, 1), np.nan),
    )


def similarity(first: Maps, second: Maps) -> dict[str, Floats]:
    """Return each of `MEASURES` `[N]` between the maps of N images; NaN where it is undefined.

    Spearman's correlations are in [-1, 1], SSIM of maps in [0, 1] too, the cosine in [0, 1]. Equal maps have 1.
    """
    a, b = _flat(first.absolute), _flat(second.absolute)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return {
        "spearman": (first.ranks * second.ranks).sum(-1),
        "spearman_absolute": (first.absolute_ranks * second.absolute_ranks).sum(-1),
        "ssim": structural_similarity(first.absolute, second.absolute),
        "cosine": (a * b).sum(-1) / lengths,
    }


def structural_similarity(first: Floats, second: Floats) -> Floats:
    """Return the mean SSIM `[N]` of images `[N, H, W]` with values in [0, 1]. Wang et al. 2004.

    Windows are squares of 7 x 7 pixels that lie in the image, smaller and odd in a smaller image, variances those
    of samples: the numbers of skimage.metrics.structural_similarity. NaN below 3 x 3 pixels.
    """
    side = min(_WINDOW, *first.shape[-2:])
    side -= 1 - side % 2
    if side < 3:
        return np.full(len(first), np.nan)
    mean_a, mean_b = _window_means(first, side), _window_means(second, side)
    sample = side**2 / (side**2 - 1)
    variance_a = sample * (_window_means(first * first, side) - mean_a**2)
    variance_b = sample * (_window_means(second * second, side) - mean_b**2)
    covariance = sample * (_window_means(first * second, side) - mean_a * mean_b)
    numerator = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    denominator = (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    means: Floats = (numerator / denominator).mean((-2, -1))
    return means


def _window_means(images: Floats, side: int) -> Floats:
    """Return the means of all windows `[N, H - side + 1, W - side + 1]`, by sums from the corner."""
    sums = np.pad(images, ((0, 0), (1, 0), (1, 0))).cumsum(-2).cumsum(-1)
    windows = (
        sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side] + sums[:, :-side, :-side]
    )
    return windows / side**2


def _flat(maps: NDArray[np.floating]) -> NDArray[Any]:
    # Of no map, -1 would leave the number of pixels open.
    return maps.reshape(len(maps), math.prod(maps.shape[1:]))


def _unit_ranks(maps: Floats) -> Floats:
    ranks = average_ranks(_flat(maps))
    ranks -= ranks.mean(-1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=-1, keepdims=True)
    unit: Floats = ranks / np.where(lengths > 0, lengths, np.nan)
    return unit
