"""The tables of an attack's report, counted portion by portion in one pass: rows may exceed memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.attacks import class_success, curves, minimum_epsilon
from analysis.attacks.rows import Subject, Sums, attack_names, in_asked_order, is_minimum, values_in_order
from analysis.attacks.success_rates import (
    AXES,
    DENOMINATORS,
    accuracy_counts,
    axes_that_vary,
    rates,
    success_counts,
)
from analysis.html.choices import evenly
from analysis.run import Run

# Checkpoints that a reader can take in; the files to download hold all.
MOST_CHECKPOINTS = 6

_KEYS = ("denominator", "measure", *AXES, "epsilon")
_BY = ("checkpoint", "attack")


@dataclass(frozen=True, kw_only=True)
class AttackTables:
    """Tables of `success_rates`, `curves`, `class_success` and `minimum_epsilon`, in the order of the sweep.

    Those of attacks at given ε are empty if there are none, and so are those of minima.
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
        """The checkpoints that are drawn."""
        return evenly(self.checkpoints, MOST_CHECKPOINTS)

    def shown(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the checkpoints that are drawn."""
        return table[table["checkpoint"].isin(self.shown_checkpoints)]


@dataclass(frozen=True, kw_only=True)
class AttackCounts:
    """What one pass over the rows counts."""

    subject: str
    rates: pd.DataFrame
    classes: pd.DataFrame
    minima: pd.DataFrame


def count_rows(portions: Iterable[pd.DataFrame]) -> AttackCounts:
    """Count the rows of a run."""
    subject, by_attack, by_class = Subject(), Sums(_KEYS), Sums(class_success.BY)
    minima: list[pd.DataFrame] = []
    for portion in portions:
        subject.add(portion)
        by_attack.add(rate_counts(portion))
        by_class.add(class_success.class_counts(portion))
        minima.append(minimum_epsilon.minima_of(portion))
    found = minimum_epsilon.concat_minima(minima)
    return AttackCounts(
        subject=subject.describe(),
        rates=by_attack.total(),
        classes=by_class.total(),
        minima=found[is_minimum(found)],
    )


def tables_of(run: Run, counts: AttackCounts) -> AttackTables:
    """Return the tables of the counts, with checkpoints and attacks in the order in which the sweep names them."""
    minima = counts.minima
    found = [pd.DataFrame(columns=[*_BY, "epsilon"])] * 2
    if len(minima):
        found = [minimum_epsilon.distribution(minima), minimum_epsilon.quartiles(minima)]
    curve_table = _curves(counts.rates)
    both = pd.concat([table[[*_BY]].astype(str) for table in (curve_table, found[1])])
    both = in_asked_order(both, run)
    return AttackTables(
        subject=counts.subject,
        rates=_rates(counts.rates),
        curves=in_asked_order(curve_table, run),
        classes=in_asked_order(rates(counts.classes, class_success.BY), run),
        distribution=in_asked_order(found[0], run),
        quartiles=in_asked_order(found[1], run),
        checkpoints=values_in_order(both["checkpoint"]),
        attacks=values_in_order(both["attack"]),
    )


def rate_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return counts of successes and of right predictions by all columns that tell attacks apart."""
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
    return curves.curve_rates(named)
