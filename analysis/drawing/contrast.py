"""Change the contrast of images `[H, W, C]`, so that dim images and small differences can be seen."""

import numpy as np
from numpy.typing import NDArray

_MID_GREY = 127.5


def stretch_contrast(image: NDArray[np.uint8], clip: float) -> NDArray[np.uint8]:
    """Return the image with its values between the quantiles `clip` and 1 - `clip` spread over 0 to 255.

    The channels share one scale, so hues stay; an image of one value stays as it is.
    """
    low, high = np.quantile(image, [clip, 1 - clip])
    if high == low:
        return image
    stretched: NDArray[np.uint8] = np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return stretched


def stretched_difference(
    before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], float]:
    """Return `after` minus `before` as a picture, and the largest absolute change, in [0, 1].

    Mid-grey means no change; the picture is scaled so that the largest change is black or white.
    """
    change = after.astype(np.float64) - before
    largest = float(np.abs(change).max(initial=0))
    view: NDArray[np.uint8] = np.rint(_MID_GREY + _MID_GREY * change / max(largest, 1)).astype(np.uint8)
    return view, largest / 255
