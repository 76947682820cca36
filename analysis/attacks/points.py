"""The attacks that a report shows in detail, each at the ε that tells most."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attacks.rows import ALONE, attack_names, is_minimum
from analysis.attacks.tables import AttackTables

# Attacks that a reader can take in; the files to download hold all.
MOST_ATTACKS = 12


class AttackPoint(NamedTuple):
    """An attack on a checkpoint at one ε; None for a minimum method, whose images have an ε each."""

    checkpoint: str
    attack: str
    epsilon: float | None


def telling_points(tables: AttackTables) -> list[AttackPoint]:
    """Return the attacks that are shown in detail, each at the ε that tells most."""
    curves, minima = tables.curves, tables.quartiles
    success = curves[(curves["denominator"] == "initially_correct") & (curves["measure"] == "success")]
    found = []
    for checkpoint, attack in product(tables.shown_checkpoints, tables.attacks):
        rows = success[(success["checkpoint"] == checkpoint) & (success["attack"] == attack)]
        if len(rows):
            found.append(AttackPoint(checkpoint, attack, _telling_epsilon(rows)))
        elif ((minima["checkpoint"] == checkpoint) & (minima["attack"] == attack)).any():
            found.append(AttackPoint(checkpoint, attack, None))
    return found[:MOST_ATTACKS]


def point_numbers(rows: pd.DataFrame, points: Sequence[AttackPoint]) -> NDArray[np.int64]:
    """Return for each row the number of its point, -1 for none."""
    attack, minimum = attack_names(rows), is_minimum(rows)
    numbers = np.full(len(rows), -1)
    for number, point in enumerate(points):
        same = minimum if point.epsilon is None else ~minimum & (rows["epsilon"] == point.epsilon)
        numbers[(rows["checkpoint"] == point.checkpoint) & (attack == point.attack) & same] = number
    return numbers


def _telling_epsilon(rows: pd.DataFrame) -> float:
    """Return the smallest positive ε that misleads at least half of the images, else that which misleads most.

    For a gradient without an image it is the largest ε: at the others there is nothing to be seen.
    """
    if (rows["attack"] == ALONE).any():
        return float(rows["epsilon"].max())
    rows = rows[rows["epsilon"] > 0] if (rows["epsilon"] > 0).any() else rows
    rates = rows.set_index("epsilon")["rate"].sort_index().fillna(0)
    half = rates.index[rates >= 0.5]
    return float(half[0] if len(half) else rates.idxmax())
