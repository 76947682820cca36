"""Choose what a report shows if it cannot show everything: a few, spread evenly, in the order asked for."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from analysis.run import Run

T = TypeVar("T")


def evenly(values: Sequence[T], most: int) -> list[T]:
    """Return at most `most` of the values: the first, the last and, equally far apart, some between."""
    places = np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int)
    return [values[place] for place in places]


def in_order(values: Iterable[str], asked: Sequence[str]) -> list[str]:
    """Return the values in the order in which they were asked for, then the others, sorted."""
    places = {name: place for place, name in enumerate(asked)}
    return sorted(map(str, values), key=lambda name: (places.get(name, len(places)), name))


def asked_for(run: Run, axis: str) -> list[str]:
    """Return the values of an axis in all blocks of sweep.json, in their order."""
    values = [value for block in run.sweep.get("blocks", []) for value in block["axes"].get(axis, [])]
    return list(dict.fromkeys(map(str, values)))


def spread(rows: pd.DataFrame, outcome: pd.Series, by: str, most: int) -> pd.DataFrame:
    """Return at most `most` rows: half with the outcome, if there are as many, over the values of `by` evenly."""
    with_it, without = rows[outcome], rows[~outcome]
    num_with = min(len(with_it), most - min(most // 2, len(without)))
    return pd.concat([_over(with_it, by, num_with, 0.25), _over(without, by, most - num_with, 0.75)])


def _over(rows: pd.DataFrame, by: str, most: int, offset: float) -> pd.DataFrame:
    """Return at most `most` rows: the first of each value of `by`, then the second of each.

    Of more values some are taken, equally far apart; another offset, in [0, 1), takes others.
    """
    turn = rows.groupby(by, observed=True).cumcount()
    ordered = rows.assign(turn_=turn).sort_values(["turn_", by], kind="stable").drop(columns="turn_")
    num_values = rows[by].nunique()
    if most >= num_values:
        return ordered.iloc[:most]
    return ordered.iloc[[int((place + offset) * num_values / most) for place in range(most)]]
