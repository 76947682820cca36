"""A run as evidence: its rows, loaded once, and what can be said of how it was made."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import pandas as pd

from analysis import load
from analysis.attacks import rows as attack_rows
from analysis.attribution import attributions
from analysis.generation import modifications
from analysis.run import Source

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
    """A run directory and what its rows say; rows are read when a claim asks for them."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def url(self) -> str:
        return self.source.url

    @property
    def kind(self) -> str:
        return self.source.kind

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the whole sweep, from sweep.json."""
        return dict(self.source.sweep.get("settings") or {})

    @property
    def class_names(self) -> list[str]:
        """The classes of the run's model, as its last invocation recorded them; may be empty."""
        invocations = self.source.sweep.get("invocations") or [{}]
        return list(invocations[-1].get("class_names", []))

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of the run, with the columns that claims about its kind of sweep need."""
        return _LOADERS[self.kind](self.url)

    @property
    def models(self) -> list[str]:
        return self._values("model")

    @property
    def datasets(self) -> list[str]:
        return self._values("dataset")

    def is_of(self, models: Iterable[str], datasets: Iterable[str]) -> bool:
        """Whether all of the run's models, and its data sets if it has any, are among these."""
        return set(self.models) <= set(models) and set(self.datasets) <= set(datasets)

    def _values(self, column: str) -> list[str]:
        return sorted(map(str, self.rows[column].unique())) if column in self.rows else []


def _attack(url: str) -> pd.DataFrame:
    rows = attack_rows.load_rows(url, _ATTACK_COLUMNS)
    untargeted = rows["target"].isna()
    # The original aims at no class. A copy only where one is needed: there may be millions of rows.
    return rows if untargeted.all() else rows[untargeted]


def _generate(url: str) -> pd.DataFrame:
    judged = [name for name in load.column_names(url) if name.startswith(("judge_top1.", "judge_top5_hit."))]
    return load.results(url, (*_GENERATE_COLUMNS, *judged))


_LOADERS: dict[str, Callable[[str], pd.DataFrame]] = {
    "attack": _attack,
    "attribute": attributions.attribution_rows,
    "attribute_training": attributions.attribution_rows,
    "generate": _generate,
    "modify": modifications.load_rows,
}
KINDS = tuple(_LOADERS)
