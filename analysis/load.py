"""Committed results and images of a run directory, on a local disk or in an object store.

Each function takes a path, a URL or a run that `analysis.run.open_run` has opened.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.run import AnyRun, opened


def results(run: AnyRun, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return every committed row, in the order of the shard ids.

    A judge's field of a struct column is a column too: `judge_top1.NAME`, `judge_top5_hit.NAME`; `columns`
    takes both spellings. A victim of an attack has the columns `victim_prediction.NAME`, `victim_margin.NAME` and
    `victim_clean_prediction.NAME`, also one that was added later, which has no values in rows that it was not
    shown. Text of few distinct values is categorical, its categories sorted. Raises ValueError for what is no
    run directory, a run without results, an unknown column and an unknown schema version.
    """
    return opened(run).results(columns)


def result_portions(run: AnyRun, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of `results` in the same order, some at a time, so that memory stays bounded.

    Categories are those of a portion; `concat_rows` unites them. Raises ValueError as `results` does.
    """
    return opened(run).portions(columns)


def column_names(run: AnyRun) -> list[str]:
    """Return the names of the columns that `results` gives for this run, read from one of its shards."""
    return opened(run).column_names


def sweep(run: AnyRun) -> dict[str, Any]:
    """Return the content of sweep.json: configuration, growth history and provenance."""
    return opened(run).sweep


def images(run: AnyRun, keys: Iterable[str], *, rows: pd.DataFrame | None = None) -> list[NDArray[np.uint8]]:
    """Return the images `[H, W, C]` of the given keys, in their order: an `image_key`, or another column's.

    `rows` are rows of `results` that name these keys: they spare a caller who reads page after page the
    search through all results. Only the image files and row groups that hold a key are read. Raises
    ValueError for a key that no row or no image file has.
    """
    return opened(run).images(keys, rows)


def encoded_images(run: AnyRun, keys: Iterable[str], *, rows: pd.DataFrame | None = None) -> list[bytes]:
    """Return the images as they are stored, one PNG file each, otherwise as `images` does."""
    return opened(run).encoded_images(keys, rows)


def stored_images(run: AnyRun, rows: pd.DataFrame, columns: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
    """Return the images whose keys these columns of the rows hold, by key."""
    named = pd.unique(rows[list(columns)].to_numpy(dtype=object).ravel())
    keys = [key for key in named if isinstance(key, str)]
    return dict(zip(keys, images(run, keys, rows=rows), strict=True))
