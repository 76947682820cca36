"""Attributions as colours: red raises what was explained, blue lowers it, white does neither."""

from functools import cache

import matplotlib
import numpy as np
from numpy.typing import NDArray

# The quantile of an image's |values| that has the full colour. With the largest value in its place, a single
# pixel that stands out would leave all others white.
PERCENTILE = 99.5

NOTE = f"full colour: the {PERCENTILE} % quantile of |value|"
SIGNED_NOTE = "red: positive, blue: negative"

# An odd number of colours has white in the middle, where 0 is.
_HALF = 127


def channel_sum(attributions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return maps `[..., H, W]` of attributions `[..., C, H, W]`: the sum over the channels of each pixel."""
    return attributions[..., 0, :, :] if attributions.shape[-3] == 1 else attributions.sum(-3)


def full_values(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the value `[...]` that has the full colour in each map `[..., H, W]`; 0 if a map is 0 everywhere.

    It is the quantile of |value|, or the largest |value| of a map with so few that the quantile is 0.
    """
    sizes = np.abs(maps).reshape(*maps.shape[:-2], -1)
    quantile, largest = np.percentile(sizes, PERCENTILE, axis=-1), sizes.max(-1)
    full: NDArray[np.float64] = np.where(quantile > 0, quantile, largest).astype(np.float64)
    return full


def colored(
    maps: NDArray[np.floating], *, signed: bool = True, full: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """Return colours `[..., H, W, 3]` of maps `[..., H, W]`.

    Signed maps run from blue through white to red, others from white to red. `full` `[...]` is the value that
    has the full colour, that of `full_values` unless given.
    """
    shares = _shares(maps, full)
    if signed:
        return _palette("RdBu_r", 2 * _HALF + 1)[np.rint((shares + 1) * _HALF).astype(np.intp)]
    return _palette("Reds", 256)[np.rint(shares.clip(0) * 255).astype(np.intp)]


def overlaid(
    maps: NDArray[np.floating], images: NDArray[np.uint8], *, full: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """Return colours `[..., H, W, 3]`: images `[..., H, W, C]` in grey, covered with red or blue by the maps."""
    grey = images.mean(-1, keepdims=True)
    shares = _shares(maps, full)[..., None]
    palette = _palette("RdBu_r", 2 * _HALF + 1).astype(np.float64)
    # Not the ends of the palette: they are dark, as the background of an image often is.
    color = np.where(shares > 0, palette[-30], palette[30])
    mixed = grey + np.abs(shares) * (color - grey)
    return np.rint(mixed).astype(np.uint8)


def _shares(maps: NDArray[np.floating], full: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the maps as shares, in [-1, 1], of the value that has the full colour."""
    whole = np.asarray(full_values(maps) if full is None else full)[..., None, None]
    shares: NDArray[np.float64] = np.clip(maps / np.where(whole > 0, whole, 1), -1, 1)
    return shares


@cache
def _palette(name: str, num_colors: int) -> NDArray[np.uint8]:
    colors = matplotlib.colormaps[name](np.linspace(0, 1, num_colors))[:, :3]
    palette: NDArray[np.uint8] = np.rint(colors * 255).astype(np.uint8)
    palette.flags.writeable = False
    return palette
