"""The scores of one network's attributions as they are shown: a method beside the others, the best marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.attribution.measures import MEASURES, Measure, measures_of

# These stand in a table of their own, with pictures on an axis from 0 to 1.
AREAS = ("deletion_score", "insertion_score")


@dataclass(frozen=True, kw_only=True)
class Score:
    """A method's score over `count` images with its 95 % interval.

    `low` and `high` are NaN for a single image, and all three for none.
    """

    measure: Measure
    value: float
    low: float
    high: float
    count: int
    is_best: bool

    @property
    def text(self) -> str:
        """The value as it is shown."""
        return self.measure.text(self.value)

    @property
    def interval(self) -> str:
        """The interval as it is shown, empty for a single image."""
        return (
            "" if np.isnan(self.low) else f"{self.measure.text(self.low)} to {self.measure.text(self.high)}"
        )


@dataclass(frozen=True, kw_only=True)
class MethodScores:
    """A method's scores by measure, and the quantiles of its gap and of its steps, if it has any.

    `missing` images have no number in some score, `constant` of them because their map is constant.
    """

    method: str
    by_measure: Mapping[str, Score]
    gap: Mapping[float, float]
    missing: int = 0
    constant: int = 0
    steps: Mapping[float, float]

    @property
    def count(self) -> int:
        """The images of the score that has most of them."""
        return max((score.count for score in self.by_measure.values()), default=0)

    @property
    def areas(self) -> list[Score]:
        """Deletion and insertion score, if the run has them."""
        return [self.by_measure[name] for name in AREAS if name in self.by_measure]

    @property
    def others(self) -> list[Score]:
        """All other scores."""
        return [score for name, score in self.by_measure.items() if name not in AREAS]

    @property
    def in_short(self) -> list[Score]:
        """The scores that a table that must be narrow has."""
        return [score for score in self.by_measure.values() if score.measure.in_short]

    def images(self, scores: Sequence[Score] | None = None) -> str:
        """Return how many images these scores are of, such as `1 to 5` where they differ; all scores if None.

        A score of no image does not count: it stands as a dash.
        """
        counted = [score.count for score in (self.by_measure.values() if scores is None else scores)]
        fewest, most = min(filter(None, counted), default=0), max(counted, default=0)
        return f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"


def scores_by_method(
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    methods: Sequence[str] | None = None,
    steps: pd.DataFrame | None = None,
) -> list[MethodScores]:
    """Return what is shown of the tables, method by method; in the table's order unless `methods` gives one.

    The tables are of one checkpoint. Raises ValueError for those of several.
    """
    if scores["checkpoint"].nunique() > 1:
        raise ValueError(
            f"checkpoint of the scores is {', '.join(scores['checkpoint'].unique())}: take one of them"
        )
    methods = list(scores["method"].unique()) if methods is None else methods
    best = {
        measure: rows["value"].min() if MEASURES[measure].better == "lower" else rows["value"].max()
        for measure, rows in scores.groupby("measure")
    }
    by = scores.set_index(["method", "measure"])
    found = []
    for method in methods:
        rows = {measure: by.loc[(method, measure)] for measure in measures_of(scores)}
        found.append(
            MethodScores(
                method=method,
                by_measure={
                    measure: Score(
                        measure=MEASURES[measure],
                        **row[["value", "low", "high"]].astype(float),
                        count=int(row["count"]),
                        is_best=_is_best(row["value"], best[measure], measure, len(methods)),
                    )
                    for measure, row in rows.items()
                },
                gap=_by_quantile(gaps, method, "gap"),
                steps={} if steps is None else _by_quantile(steps, method, "steps"),
                missing=max((int(row["missing"]) for row in rows.values()), default=0),
                constant=max((int(row["constant"]) for row in rows.values()), default=0),
            )
        )
    return found


def _is_best(value: float, best: float, measure: str, num_methods: int) -> bool:
    return num_methods > 1 and MEASURES[measure].is_comparable and bool(value == best)


def _by_quantile(table: pd.DataFrame, method: str, column: str) -> dict[float, float]:
    found: dict[float, float] = table[table["method"] == method].set_index("quantile")[column].to_dict()
    return found
