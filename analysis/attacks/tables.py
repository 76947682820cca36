"""The tables of an attack's report, all counted in one pass over the rows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis.attacks import class_success, curves, minimum_epsilon
from analysis.attacks.masked_gradients import Signs
from analysis.attacks.rows import (
    Subject,
    Sums,
    attack_names,
    in_asked_order,
    is_minimum,
    row_portions,
    values_in_order,
)
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
class AttackCounts:
    """What one pass over the rows counts."""

    subject: str
    rates: pd.DataFrame
    classes: pd.DataFrame
    minima: pd.DataFrame
    signs: Signs


@dataclass(frozen=True)
class AttackTables:
    """Tables of `success_rates`, `curves`, `class_success` and `minimum_epsilon` of an attack's run.

    Checkpoints and attacks stand in the order of the sweep. Tables of attacks at given ε are empty if there are
    none, and so are those of minima. The rows are read once, when a table is asked for.
    """

    run: Run

    @cached_property
    def counts(self) -> AttackCounts:
        """What the tables are made of."""
        return count_portions(row_portions(self.run))

    @property
    def subject(self) -> str:
        """The model and the images, in words."""
        return self.counts.subject

    @cached_property
    def warnings(self) -> list[str]:
        """Signs of masked gradients, a sentence each."""
        return self.counts.signs.warnings()

    @cached_property
    def rates(self) -> pd.DataFrame:
        """Success rates by all columns that tell the run's attacks apart."""
        successes = self.counts.rates[self.counts.rates["measure"] == "success"]
        return rates(successes, ["denominator", *axes_that_vary(successes), "epsilon"])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Accuracy and success against ε."""
        counts = self.counts.rates
        if counts.empty:
            return pd.DataFrame(columns=[*_BY, "denominator", "measure", "epsilon"])
        named = counts.drop(columns=["targeted_", "untargeted_"]).assign(attack=attack_names(counts))
        return in_asked_order(curves.curve_rates(named), self.run)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Success by class and ε."""
        return in_asked_order(rates(self.counts.classes, class_success.BY), self.run)

    @cached_property
    def distribution(self) -> pd.DataFrame:
        """The distribution of the minimum ε."""
        return self._of_minima(minimum_epsilon.distribution)

    @cached_property
    def quartiles(self) -> pd.DataFrame:
        """The quartiles of the minimum ε."""
        return self._of_minima(minimum_epsilon.quartiles)

    def _of_minima(self, table: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
        if self.counts.minima.empty:
            return pd.DataFrame(columns=[*_BY, "epsilon"])
        return in_asked_order(table(self.counts.minima), self.run)

    @cached_property
    def _pairs(self) -> pd.DataFrame:
        """Each checkpoint and attack of the curves and of the minima."""
        pairs = pd.concat([table[[*_BY]].astype(str) for table in (self.curves, self.quartiles)])
        return in_asked_order(pairs.drop_duplicates(), self.run)

    @property
    def checkpoints(self) -> list[str]:
        """All checkpoints, in the order of the sweep."""
        return values_in_order(self._pairs["checkpoint"])

    @property
    def attacks(self) -> list[str]:
        """All attacks, in the order of the sweep."""
        return values_in_order(self._pairs["attack"])

    @property
    def shown_checkpoints(self) -> list[str]:
        """The checkpoints that are drawn."""
        return evenly(self.checkpoints, MOST_CHECKPOINTS)

    def shown(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the checkpoints that are drawn."""
        return table[table["checkpoint"].isin(self.shown_checkpoints)]


def count_portions(portions: Iterable[pd.DataFrame]) -> AttackCounts:
    """Count the rows of a run, portion by portion: they may exceed memory."""
    subject, by_attack, by_class, signs = Subject(), Sums(_KEYS), Sums(class_success.BY), Signs()
    minima: list[pd.DataFrame] = []
    for portion in portions:
        subject.add(portion)
        by_attack.add(rate_counts(portion))
        by_class.add(class_success.class_counts(portion))
        minima.append(minimum_epsilon.minima_of(portion))
        signs.add(portion)
    found = minimum_epsilon.concat_minima(minima)
    return AttackCounts(
        subject=subject.describe(),
        rates=by_attack.total(),
        classes=by_class.total(),
        minima=found[is_minimum(found)],
        signs=signs,
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
