"""What a report says of an attack's rows, counted portion by portion: they may be more than memory holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attacks import class_success, confusion, minimum_epsilon
from analysis.attacks import curves as attack_curves
from analysis.attacks.rows import attack_names, count_rows, is_minimum
from analysis.attacks.success_rates import (
    AXES,
    DENOMINATORS,
    accuracy_counts,
    axes_that_vary,
    rates,
    success_counts,
)
from analysis.html.choices import asked_for, evenly, in_order
from analysis.run import Source

RIGHT_AT_FIRST = "initially_correct"

# Its images are ε · sign(g) by itself: there is no clean image below.
ALONE = "gradient_alone"

# Panels and attacks that a reader can take in; the files to download hold all.
MOST_CHECKPOINTS, MOST_ATTACKS = 6, 12

_KEYS = ("denominator", "measure", *AXES, "epsilon")
_BY = ("checkpoint", "attack")


class View(NamedTuple):
    """An attack on a checkpoint at one ε; None for a minimum method, whose images have an ε each."""

    checkpoint: str
    attack: str
    epsilon: float | None


@dataclass(frozen=True, kw_only=True)
class AttackTables:
    """Tables of `analysis.attacks.success_rates`, `attack_curves`, `class_success` and `minimum_epsilon`.

    Those of attacks at given ε are empty where there are none, and so are those of minima.
    """

    subject: str
    rates: pd.DataFrame
    curves: pd.DataFrame
    classes: pd.DataFrame
    distribution: pd.DataFrame
    quartiles: pd.DataFrame
    checkpoints: Sequence[str]
    attacks: Sequence[str]

    @property
    def shown_checkpoints(self) -> list[str]:
        """Those that are drawn."""
        return evenly(self.checkpoints, MOST_CHECKPOINTS)


def count_tables(source: Source) -> AttackTables:
    """The tables of a run."""
    counts, subject = count_rows(source.url, rate_counts, _KEYS)
    classes, _ = count_rows(source.url, class_success.class_counts, class_success.BY)
    minima = minimum_epsilon.load_minimum_rows(source.url)
    minima = minima[is_minimum(minima)]
    found = [pd.DataFrame(columns=[*_BY])] * 2
    if len(minima):
        found = [minimum_epsilon.distribution(minima), minimum_epsilon.quartiles(minima)]
    curves = _curves(counts)
    both = pd.concat([table[[*_BY]].astype(str) for table in (curves, found[1])])
    methods = asked_for(source, "method")
    return AttackTables(
        subject=subject,
        rates=_rates(counts),
        curves=curves,
        classes=rates(classes, class_success.BY),
        distribution=found[0],
        quartiles=found[1],
        checkpoints=in_order(both["checkpoint"].unique(), asked_for(source, "checkpoint")),
        attacks=in_order(
            both["attack"].unique(), [each for name in methods for each in (name, f"{name}, targeted")]
        ),
    )


def rate_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Counts of successes and of right predictions by all that tells attacks apart, under both denominators."""
    by, parts = [*AXES, "epsilon"], []
    for denominator in DENOMINATORS:
        parts.append(
            success_counts(frame, by, denominator).assign(measure="success", denominator=denominator)
        )
        parts.append(
            accuracy_counts(frame, by, denominator).assign(measure="accuracy", denominator=denominator)
        )
    return pd.concat(parts, ignore_index=True)


def _rates(counts: pd.DataFrame) -> pd.DataFrame:
    successes = counts[counts["measure"] == "success"]
    return rates(successes, ["denominator", *axes_that_vary(successes), "epsilon"])


def _curves(counts: pd.DataFrame) -> pd.DataFrame:
    if counts.empty:
        return pd.DataFrame(columns=[*_BY, "denominator", "measure", "epsilon"])
    named = counts.drop(columns=["targeted_", "untargeted_"]).assign(attack=attack_names(counts))
    return attack_curves.curve_rates(named)


def views(tables: AttackTables) -> list[View]:
    """The attacks that are shown in detail, each at an ε that tells most, those at given ε first."""
    curves = tables.curves
    curves = curves[(curves["denominator"] == RIGHT_AT_FIRST) & (curves["measure"] == "success")]
    found = []
    for checkpoint, attack in product(tables.shown_checkpoints, tables.attacks):
        rows = curves[(curves["checkpoint"] == checkpoint) & (curves["attack"] == attack)]
        minima = (tables.quartiles["checkpoint"] == checkpoint) & (tables.quartiles["attack"] == attack)
        if len(rows):
            found.append(View(checkpoint, attack, _telling_epsilon(rows)))
        elif minima.any():
            found.append(View(checkpoint, attack, None))
    return found[:MOST_ATTACKS]


def _telling_epsilon(rows: pd.DataFrame) -> float:
    """The smallest positive ε at which at least half of the images are misled, else that which misleads most.

    Of a gradient without an image the largest: at the others there is nothing to be seen.
    """
    if (rows["attack"] == ALONE).any():
        return float(rows["epsilon"].max())
    rows = rows[rows["epsilon"] > 0] if (rows["epsilon"] > 0).any() else rows
    rates_at = rows.set_index("epsilon")["rate"].sort_index().fillna(0)
    half = rates_at.index[rates_at >= 0.5]
    return float(half[0] if len(half) else rates_at.idxmax())


def view_numbers(rows: pd.DataFrame, shown: Sequence[View]) -> NDArray[np.int64]:
    """For each row the number of its view, -1 for none."""
    attack, minimum = attack_names(rows), is_minimum(rows)
    numbers = np.full(len(rows), -1)
    for number, view in enumerate(shown):
        same = minimum if view.epsilon is None else ~minimum & (rows["epsilon"] == view.epsilon)
        numbers[(rows["checkpoint"] == view.checkpoint) & (attack == view.attack) & same] = number
    return numbers


def confusions(source: Source, shown: Sequence[View]) -> list[pd.DataFrame]:
    """The table of `analysis.attacks.confusion` of each view at a given ε, empty for the others."""
    given = [view if view.epsilon is not None else View("", "", np.nan) for view in shown]
    counts, _ = count_rows(source.url, partial(_confusion_counts, given), confusion.BY)
    table = confusion.confusion_table(counts)
    return [
        table[(table["checkpoint"] == view.checkpoint) & (table["attack"] == view.attack)] for view in given
    ]


def _confusion_counts(shown: Sequence[View], frame: pd.DataFrame) -> pd.DataFrame:
    return confusion.confusion_counts(frame[view_numbers(frame, shown) >= 0])
