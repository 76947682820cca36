"""Checkpoints of an attribution sweep: the trained network, networks with layers re-drawn, and others.

Rows of several networks are facts about different models. A table, figure or claim is of one of them, unless it
compares them.
"""

import math
from collections.abc import Iterable

import pandas as pd

from analysis.html.choices import asked_for, in_order
from analysis.run import AnyRun, opened

TRAINED, UNTRAINED = "trained", "untrained"

_RANDOMIZED, _ALL = "randomized:", "all"


def num_redrawn(checkpoint: str) -> float | None:
    """Return how many of the last layers were re-drawn: 0 if trained, infinite if all; None for any other."""
    if checkpoint == TRAINED:
        return 0
    number = checkpoint.removeprefix(_RANDOMIZED)
    if checkpoint == UNTRAINED or (number == _ALL and number != checkpoint):
        return math.inf
    return int(number) if number != checkpoint and number.isdecimal() else None


def redrawn_words(checkpoint: str) -> str:
    """Return in words what was re-drawn, such as `the last layer is re-drawn`."""
    number = num_redrawn(checkpoint)
    if number == math.inf:
        return "all layers are re-drawn"
    return "the last layer is re-drawn" if number == 1 else f"the last {number} layers are re-drawn"


def checkpoint_order(run: AnyRun, names: Iterable[str]) -> list[str]:
    """Return checkpoints by the number of re-drawn layers, then all others in the order of the sweep."""
    ordered = in_order(set(names), asked_for(opened(run), "checkpoint"))
    depths = {name: num_redrawn(name) for name in ordered}
    redrawn = sorted(
        (name for name in ordered if depths[name] is not None), key=lambda name: depths[name] or 0
    )
    return [*redrawn, *(name for name in ordered if depths[name] is None)]


def one_checkpoint(rows: pd.DataFrame, checkpoint: str | None = None) -> pd.DataFrame:
    """Return the rows of one checkpoint: the one that is named, else `trained`, else the only one.

    Rows along training have no checkpoint and are returned as they are. Raises ValueError for an unknown
    checkpoint, and where none is named and several others than `trained` are there.
    """
    if "checkpoint" not in rows:
        if checkpoint is not None:
            raise ValueError(f"checkpoint is {checkpoint!r}: the rows have none")
        return rows
    known = sorted(map(str, rows["checkpoint"].unique()))
    chosen = checkpoint
    if chosen is None:
        chosen = known[0] if len(known) == 1 else TRAINED
    if chosen not in known:
        raise ValueError(f"checkpoint is {checkpoint!r}: choose from {', '.join(known)}")
    return rows[rows["checkpoint"] == chosen]


def shown_checkpoint(run: AnyRun, rows: pd.DataFrame) -> str:
    """Return the checkpoint that a report shows: `trained`, else the last one that the sweep was asked for."""
    known = checkpoint_order(run, map(str, rows["checkpoint"].unique()))
    return TRAINED if TRAINED in known else known[-1]
