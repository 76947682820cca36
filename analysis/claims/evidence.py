"""A run as evidence for claims: its rows, loaded once, and the settings that it was made with."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.attacks import rows as attack_rows
from analysis.run import Run
from analysis.sweep_kinds import SWEEP_KINDS, named_function

# What the claims need of an attack's rows beside those of every table.
_ATTACK_COLUMNS = (*attack_rows.COLUMNS, "clean_confidence", "adversarial_confidence", "l2")
_GENERATE_COLUMNS = (
    "model",
    "recipe",
    "class_index",
    "seed",
    "logit",
    "probability",
    "top1",
    "top5_hit",
    "clipped_share",
    "loss_by_step",
    "argmax_by_step",
)


class Evidence:
    """A run and the rows that claims measure on; rows are read when a claim asks for them."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def kind(self) -> str:
        """The kind of the run's sweep."""
        return self.run.kind

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the whole sweep, from sweep.json."""
        return self.run.settings

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Rows of the run, with the columns that claims about its kind of sweep need."""
        rows: pd.DataFrame = named_function(SWEEP_KINDS[self.kind].rows)(self.run)
        return rows

    @property
    def models(self) -> list[str]:
        """The models of the rows."""
        return self._values("model")

    @property
    def datasets(self) -> list[str]:
        """The data sets of the rows; empty if the sweep uses none."""
        return self._values("dataset")

    def is_of(self, models: Iterable[str], datasets: Iterable[str]) -> bool:
        """Return whether all of the run's models, and its data sets if it has any, are among these."""
        return set(self.models) <= set(models) and set(self.datasets) <= set(datasets)

    def _values(self, column: str) -> list[str]:
        return sorted(map(str, self.rows[column].unique())) if column in self.rows else []


def untargeted_rows(run: Run) -> pd.DataFrame:
    """Return the rows of an attack's run that aim at no class, as the original's attacks do."""
    rows = attack_rows.load_rows(run, _ATTACK_COLUMNS)
    untargeted = rows["target"].isna()
    # A copy only where one is needed: there may be millions of rows.
    return rows if untargeted.all() else rows[untargeted]


def generated_rows(run: Run) -> pd.DataFrame:
    """Return the rows of generated images, with the verdicts of all judges."""
    judged = [name for name in run.column_names if name.startswith(("judge_top1.", "judge_top5_hit."))]
    return run.results([*_GENERATE_COLUMNS, *judged])
