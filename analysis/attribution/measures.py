"""Scores of attributions: their names, the direction that speaks for a method, and how images are summed up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis.attribution.attributions import method_names
from analysis.attribution.checkpoints import TRAINED


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A score of attributions.

    `better` is the direction that speaks for a method. `statistic` sums up the images: the mean, the median where
    single images would decide the mean, or the rate of a score that is 0 or 1. `unit` says what is counted;
    `limits` are the ends of an axis, None for those of the data. `in_short`: a table that must be narrow has it.
    Scores that are not `is_comparable` are in units of what is explained, a logit or a loss: none is the best.
    """

    name: str
    better: Literal["lower", "higher"]
    statistic: Literal["mean", "median", "rate"] = "mean"
    unit: str
    limits: tuple[float, float] | None = None
    is_comparable: bool = True
    in_short: bool = False

    @property
    def direction(self) -> str:
        """The direction in words."""
        return f"{self.better} is better"

    @property
    def heading(self) -> str:
        """The name with an arrow in the direction that speaks for a method."""
        return f"{self.name} {'↓' if self.better == 'lower' else '↑'}"

    def text(self, value: float) -> str:
        """The value as it is shown: three digits after the point, of an open scale three digits in all."""
        if pd.isna(value):
            return "\N{EN DASH}"
        return f"{value:.3f}" if self.limits else f"{value:#.3g}".removesuffix(".")


_AREA, _CHANGE = "area under the probability", "change of the probability"
_SQUARED, _SHARE = "squared change of what is explained", "share; 1: no better than zeros"

# By column. Shares of `infidelity_of_zero` are no columns of a run: `with_shares` adds them.
MEASURES = {
    "deletion_score": Measure(
        name="deletion score", better="lower", unit=_AREA, limits=(0, 1), in_short=True
    ),
    "insertion_score": Measure(
        name="insertion score", better="higher", unit=_AREA, limits=(0, 1), in_short=True
    ),
    "road": Measure(
        name="ROAD", better="higher", unit="half the difference of both orders", limits=(-1, 1), in_short=True
    ),
    "road_morf": Measure(name="ROAD, most relevant first", better="lower", unit=_CHANGE, limits=(-1, 1)),
    "road_lerf": Measure(name="ROAD, least relevant first", better="higher", unit=_CHANGE, limits=(-1, 1)),
    "infidelity": Measure(
        name="infidelity", better="lower", statistic="median", unit=_SQUARED, is_comparable=False
    ),
    "infidelity_scaled": Measure(
        name="infidelity, scaled", better="lower", statistic="median", unit=_SQUARED, is_comparable=False
    ),
    "infidelity_share": Measure(
        name="infidelity / that of zeros", better="lower", statistic="median", unit=_SHARE
    ),
    "infidelity_scaled_share": Measure(
        name="infidelity, scaled / that of zeros",
        better="lower",
        statistic="median",
        unit=_SHARE,
        in_short=True,
    ),
    "max_sensitivity": Measure(
        name="max-sensitivity",
        better="lower",
        statistic="median",
        unit="largest relative change of the map",
        in_short=True,
    ),
    "pointing_hit": Measure(
        name="pointing game",
        better="higher",
        statistic="rate",
        unit="share of images",
        limits=(0, 1),
        in_short=True,
    ),
}

_OF_ZERO = "infidelity_of_zero"


def with_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with infidelity as a share of what a map of zeros scores, and with checkpoint and method names.

    Perturbations that do not change what is explained give no share. `method` has the target where it has several.
    """
    names = {"method": method_names(rows).to_numpy()}
    if "checkpoint" not in rows:
        names["checkpoint"] = TRAINED
    shares = {}
    if _OF_ZERO in rows:
        of_zero = rows[_OF_ZERO].astype(float)
        of_zero = of_zero.where(of_zero > 0)
        shares = {
            f"{column}_share": rows[column].astype(float) / of_zero
            for column in ("infidelity", "infidelity_scaled")
            if column in rows
        }
    return rows.assign(**names, **shares)


def measures_of(columns: pd.DataFrame) -> Sequence[str]:
    """Return the measures of which the rows, or a table by `measure`, hold any number, in their order."""
    if "measure" in columns:
        known = set(columns["measure"])
        return [name for name in MEASURES if name in known]
    return [name for name in MEASURES if name in columns and columns[name].notna().any()]
