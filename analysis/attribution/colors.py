"""Attributions as colours: red adds to what was explained, blue takes away from it, white is nothing."""

from functools import cache

import matplotlib
import numpy as np
from numpy.typing import NDArray

# Of an image's |values|, how many lie below the value that has the full colour: single pixels stand out so far
# that the largest would leave all others white.
PERCENTILE = 99.5

NOTE = f"full colour: the {PERCENTILE} % quantile of |value|"
SIGNED_NOTE = "red: positive, blue: negative"

# An odd number of colours has white in the middle, where 0 is.
_HALF = 127


def channel_sum(attributions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Maps `[..., H, W]` of attributions `[..., C, H, W]`: a pixel's value is the sum over its channels."""
    return attributions[..., 0, :, :] if attributions.shape[-3] == 1 else attributions.sum(-3)


def full_values(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """The value `[...]` that has the full colour in each map `[..., H, W]`; 0 where a map is 0 everywhere.

    A map with so few values that the quantile is 0 takes its largest one.
    """
    sizes = np.abs(maps).reshape(*maps.shape[:-2], -1)
    quantile, largest = np.percentile(sizes, PERCENTILE, axis=-1), sizes.max(-1)
    full: NDArray[np.float64] = np.where(quantile > 0, quantile, largest).astype(np.float64)
    return full


def colored(
    maps: NDArray[np.floating], *, signed: bool = True, full: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """Colours `[..., H, W, 3]` of maps `[..., H, W]`; `full` `[...]` has the full colour, unless given its own.

    Signed maps run from blue through white to red, others from white to red.
    """
    shares = _shares(maps, full)
    if signed:
        return _palette("RdBu_r", 2 * _HALF + 1)[np.rint((shares + 1) * _HALF).astype(np.intp)]
    return _palette("Reds", 256)[np.rint(shares.clip(0) * 255).astype(np.intp)]


def overlaid(
    maps: NDArray[np.floating], images: NDArray[np.uint8], *, full: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """Colours `[..., H, W, 3]`: the images `[..., H, W, C]` in grey, under red or blue as strong as the maps."""
    grey = images.mean(-1, keepdims=True)
    shares = _shares(maps, full)[..., None]
    palette = _palette("RdBu_r", 2 * _HALF + 1).astype(np.float64)
    # Short of the ends of the palette, which are dark as the background often is.
    color = np.where(shares > 0, palette[-30], palette[30])
    mixed = grey + np.abs(shares) * (color - grey)
    return np.rint(mixed).astype(np.uint8)


def _shares(maps: NDArray[np.floating], full: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Values in [-1, 1] as parts of what has the full colour."""
    whole = np.asarray(full_values(maps) if full is None else full)[..., None, None]
    shares: NDArray[np.float64] = np.clip(maps / np.where(whole > 0, whole, 1), -1, 1)
    return shares


@cache
def _palette(name: str, num_colors: int) -> NDArray[np.uint8]:
    colors = matplotlib.colormaps[name](np.linspace(0, 1, num_colors))[:, :3]
    palette: NDArray[np.uint8] = np.rint(colors * 255).astype(np.uint8)
    palette.flags.writeable = False
    return palette
