"""Similarity of a gradient with the image that it is taken at."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attribution.attributions import Images

MEASURES = {
    "cosine": "cosine of |gradient| with the image",
    "image_correlation": "correlation of |gradient| with the image",
    "edge_correlation": "correlation of |gradient| with the image's edges",
}


def similarities(sizes: NDArray[np.float32], keys: Sequence[str], images: Images) -> pd.DataFrame:
    """Return the measures of |gradient| `[N, C, H, W]` with the images `[H, W, C]` of these keys, a row each.

    `cosine` is over pixels and channels. `image_correlation` is Pearson's, of |gradient| summed over channels with
    the image's mean over channels; `edge_correlation` is that with the size of the mean's finite differences. A
    measure is NaN for an image of one grey and for a gradient of zero. Raises ValueError for images that do not
    have the size of their gradients.
    """
    codes, unique = pd.factorize(np.asarray(keys, dtype=object))
    pixels = np.stack([np.moveaxis(images[key] / 255, -1, 0) for key in unique]).astype(np.float32)
    if pixels.shape[1:] != sizes.shape[1:]:
        raise ValueError(f"the images are {pixels.shape[1:]}, their gradients {sizes.shape[1:]} [C, H, W]")
    grey, summed = pixels.mean(1), _flat(sizes.sum(1))
    edges = np.hypot(*np.gradient(grey, axis=(1, 2)))
    table = {
        "cosine": _cosines(_flat(sizes), _flat(pixels)[codes]),
        "image_correlation": _cosines(_centred(summed), _centred(_flat(grey))[codes]),
        "edge_correlation": _cosines(_centred(summed), _centred(_flat(edges))[codes]),
    }
    return pd.DataFrame(table)


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(len(values), -1)


def _centred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values - values.mean(1, keepdims=True)


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines `[N]` of rows `[N, D]`, NaN where one of the two is zero."""
    # Gradients of a confident network are 1e-9 and less: their squares would underflow float32. A cosine does not
    # depend on the length of the rows, so each is divided by its largest value first.
    a, b = (
        each / np.maximum(np.abs(each).max(1, keepdims=True), np.finfo(np.float32).tiny)
        for each in (one, other)
    )
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: NDArray[np.float64] = np.einsum("nd,nd->n", a, b, dtype=np.float64)
    return products / np.where(norms > 0, norms, np.nan)
