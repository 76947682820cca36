"""Attributions of a training, state by state, whichever files hold them."""

import heapq
from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attribution.attributions import attribution_portions
from analysis.run import AnyRun

State = tuple[pd.DataFrame, NDArray[np.float32]]


def states(run: AnyRun, rows: pd.DataFrame) -> Iterator[State]:
    """Yield the rows of one step after another, by image, with their attributions `[P, C, H, W]`.

    `rows` are of one trial and method, in the order of their steps; few states at a time are in memory. Files
    with steps in common, as a panel that grew leaves them, are read side by side, all others one by one.
    """
    spans = rows.groupby("results_file", observed=True)["step"].agg(["min", "max"]).sort_values("min")
    stretch = (spans["min"] > spans["max"].cummax().shift()).cumsum()
    for _, together in rows.groupby(rows["results_file"].astype("str").map(stretch)):
        files = [_states_of_file(run, part) for _, part in together.groupby("results_file", observed=True)]
        for _, parts in groupby(heapq.merge(*files, key=_step_of), key=_step_of):
            portions, values = zip(*parts, strict=True)
            state, stacked = pd.concat(portions), np.concatenate(values)
            order = state["image_index"].to_numpy().argsort()
            yield state.iloc[order], stacked[order]


def _step_of(state: State) -> int:
    return int(state[0]["step"].iloc[0])


def _states_of_file(run: AnyRun, rows: pd.DataFrame) -> Iterator[State]:
    """Yield parts of states: a file holds a method's states in their order, a portion may begin within one."""
    for portion, values in attribution_portions(run, rows):
        changes = np.diff(portion["step"].to_numpy())
        assert (changes >= 0).all(), "states out of order"
        edges = [0, *np.flatnonzero(changes) + 1, len(portion)]
        for start, end in pairwise(edges):
            yield portion.iloc[start:end], values[start:end]
