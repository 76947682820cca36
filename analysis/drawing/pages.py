"""Choose rows and divide them among pages: what all figures of several pages do first."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import TypeVar

import pandas as pd

T = TypeVar("T")


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the values in order, `size` at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))


def check_listed(name: str, values: object) -> None:
    """Raise ValueError for what is no list of one or more values, such as a text or a number alone."""
    if isinstance(values, str) or not isinstance(values, Collection) or not len(values):
        raise ValueError(f"{name} is {values!r}: give a list of one or more")


def select(rows: pd.DataFrame, column: str, values: Sequence[Hashable]) -> pd.DataFrame:
    """Return the rows with one of `values` in `column`. Raise ValueError for a value that no row has."""
    check_listed(column, values)
    known = sorted(rows[column].unique())
    for value in values:
        if value not in known:
            raise ValueError(f"{column} is {value!r}: choose from {', '.join(map(str, known))}")
    return rows[rows[column].isin(values)]
