"""Choose rows and divide them among pages: what all figures of several pages do first."""

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

import pandas as pd

T = TypeVar("T")


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the values in order, `size` at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))


def select(rows: pd.DataFrame, column: str, values: Sequence[Hashable]) -> pd.DataFrame:
    """Return the rows with one of `values` in `column`. Raise ValueError for a value that no row has."""
    known = sorted(rows[column].unique())
    for value in values:
        if value not in known:
            raise ValueError(f"{column} is {value!r}: choose from {', '.join(map(str, known))}")
    return rows[rows[column].isin(values)]
