"""Rows of attributions some images at a time: for what compares the maps of an image, which may be many."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.attribution.attributions import attribution_shape
from analysis.run import Run


def sampled(rows: pd.DataFrame, sample: int | None, seed: int) -> pd.DataFrame:
    """Return the rows of so many images, drawn by `seed`; all rows for None. Raises ValueError below 2 images."""
    if sample is None:
        return rows
    if sample < 2:
        raise ValueError(f"sample is {sample}: give 2 images or more")
    images = np.sort(rows["image_index"].unique())
    chosen = np.random.default_rng(seed).permutation(images)[:sample]
    return rows[rows["image_index"].isin(chosen)]


def image_portions(
    run: Run, rows: pd.DataFrame, most_values: int, *, multiple: int = 1
) -> Iterator[pd.DataFrame]:
    """Yield the rows a portion at a time, all rows of an image together, in the order of the files.

    A portion has about `most_values` values, and a multiple of so many images, but for the last one.
    """
    by_image = rows.groupby("image_index").size()
    num_values = int(by_image.max()) * np.prod(attribution_shape(run, rows))
    images = rows["image_index"].unique()
    size = multiple * max(1, int(most_values // num_values) // multiple)
    for start in range(0, len(images), size):
        yield rows[rows["image_index"].isin(images[start : start + size])]
