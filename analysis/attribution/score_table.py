"""Tables of attribution scores by method: statistics with intervals, gaps, steps, and pairs of methods."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.attribution.measures import MEASURES, measures_of, with_shares
from analysis.intervals import mean_interval, quantile_interval, wilson_interval

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_NEEDED = ("method", "target", "completeness_gap", "deletion_score", "insertion_score")
_COLUMNS = [
    "checkpoint",
    "method",
    "measure",
    "statistic",
    "value",
    "low",
    "high",
    "mean",
    "quartile_low",
    "quartile_high",
    "count",
    "missing",
    "constant",
]


def attribution_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each score over the images by checkpoint and method, of the scores that the rows hold.

    Columns: `checkpoint`, `method`, `measure`; `statistic`, which says what `value` is, with its 95 % interval
    `low` to `high`: of a mean Student's, of a median the bootstrap's (10,000 resamples, seed 0), of a rate
    Wilson's. `mean` and the quartiles are of the same images: `count`. `missing` images have no number, `constant`
    of them because their map is constant. `rows` are those of `attribution_rows`, of a sweep over a test set.
    """
    refuse_missing(rows)
    rows = with_shares(rows)
    held = measures_of(rows)
    table = [
        {"checkpoint": str(checkpoint), "method": method, "measure": measure, **_facts(group, measure)}
        for (checkpoint, method), group in rows.groupby(["checkpoint", "method"], observed=True)
        for measure in held
    ]
    return pd.DataFrame(table, columns=_COLUMNS)


def completeness_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles of the completeness gap by checkpoint and method, of the methods that have one.

    Columns: `checkpoint`, `method`, `quantile`, `gap`, `absolute_gap` (the quantile of |gap|) and `count`.
    """
    refuse_missing(rows)
    return _quantiles(rows, "completeness_gap", "gap", absolute="absolute_gap")


def path_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles of the steps that methods along a path took: `steps`, as `completeness_gaps` has gaps."""
    return _quantiles(rows, "num_path_steps", "steps")


def paired_scores(rows: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return by measure how two methods differ on the same images, by checkpoint.

    `difference` is the statistic of the first method's score minus the second's, image by image: a mean or a
    median, with its 95 % interval. `first_better` is the share of images on which the first is better, ties left
    out, with Wilson's interval `better_low` to `better_high`; `ties` and `count` images. Checkpoints without an
    image of both methods are left out. Raises ValueError for a method that the rows do not have, and for two that
    never explain the same target of the same image.
    """
    rows = with_shares(rows)
    known = sorted(rows["method"].unique())
    for name in (first, second):
        if name not in known:
            raise ValueError(f"method is {name!r}: choose from {', '.join(known)}")
    table = []
    for checkpoint, group in rows.groupby("checkpoint", observed=True):
        one, other = (group[group["method"] == name] for name in (first, second))
        pairs = one.merge(other, on=["image_index", "target"], suffixes=("", "_other"))
        if pairs.empty:
            continue
        for measure in measures_of(rows):
            differences = (pairs[measure].astype(float) - pairs[f"{measure}_other"].astype(float)).dropna()
            facts = _paired_facts(differences, measure)
            table.append({"checkpoint": str(checkpoint), "measure": measure, **facts})
    if not table and measures_of(rows):
        raise ValueError(
            f"method {first!r} has no image and target in common with {second!r}: {_comparable(rows, first)}"
        )
    return pd.DataFrame(table)


def _comparable(rows: pd.DataFrame, method: str) -> str:
    """Return in words which methods explain what this one does."""
    keys = ["checkpoint", "image_index", "target"]
    both = rows[rows["method"] == method][keys].merge(rows[[*keys, "method"]], on=keys)
    others = sorted(set(both["method"]) - {method})
    return f"compare it with {', '.join(others)}" if others else "no other method of the rows has"


def refuse_missing(rows: pd.DataFrame) -> None:
    """Raise ValueError for rows that are not of a sweep over a test set."""
    for column in _NEEDED:
        if column not in rows:
            raise ValueError(f"column {column!r} is not among those of the rows: {', '.join(rows.columns)}")


def statistic(values: Sequence[float] | pd.Series, kind: str) -> tuple[float, float, float]:
    """Return a mean, median or rate of values without missing ones, and the bounds of its 95 % interval."""
    array = np.asarray(values, dtype=float)
    if kind == "median":
        _, low, high = quantile_interval(array, 0.5)
        middle = (
            float(np.median(array)) if len(array) else np.nan
        )  # of an even number the mean of the middle two
        return (middle, low, high) if len(array) > 1 else (middle, np.nan, np.nan)
    if kind == "rate" and len(array):
        low, high = wilson_interval(array.sum(), len(array))
        return float(array.mean()), float(low), float(high)
    mean, low, high, _ = mean_interval(array)
    return float(mean), float(low), float(high)


def _facts(group: pd.DataFrame, measure: str) -> dict[str, Any]:
    values = group[measure].astype(float)
    known = values.dropna()
    value, low, high = statistic(known, MEASURES[measure].statistic)
    constant = 0
    if "constant_map" in group:
        constant = int((values.isna() & group["constant_map"].fillna(False).astype(bool)).sum())
    return {
        "statistic": MEASURES[measure].statistic,
        "value": value,
        "low": low,
        "high": high,
        "mean": float(known.mean()),
        "quartile_low": float(known.quantile(0.25)),
        "quartile_high": float(known.quantile(0.75)),
        "count": len(known),
        "missing": len(values) - len(known),
        "constant": constant,
    }


def _paired_facts(differences: pd.Series, measure: str) -> dict[str, Any]:
    kind = MEASURES[measure].statistic
    value, low, high = statistic(differences, "mean" if kind == "rate" else kind)
    sign = 1 if MEASURES[measure].better == "higher" else -1
    better, ties = int((sign * differences > 0).sum()), int((differences == 0).sum())
    decided = len(differences) - ties
    better_low, better_high = wilson_interval(better, decided)
    return {
        "statistic": "mean" if kind == "rate" else kind,
        "difference": value,
        "low": low,
        "high": high,
        "first_better": better / decided if decided else np.nan,
        "better_low": float(better_low),
        "better_high": float(better_high),
        "ties": ties,
        "count": len(differences),
    }


def _quantiles(rows: pd.DataFrame, column: str, name: str, *, absolute: str = "") -> pd.DataFrame:
    columns = ["checkpoint", "method", "quantile", name, *([absolute] if absolute else []), "count"]
    if column not in rows:
        return pd.DataFrame(columns=columns)
    rows = with_shares(rows)
    known = rows[rows[column].notna()]
    table = []
    for (checkpoint, method), group in known.groupby(["checkpoint", "method"], observed=True):
        values = group[column].to_numpy(np.float64)
        each = [np.quantile(values, QUANTILES)]
        if absolute:
            each.append(np.quantile(np.abs(values), QUANTILES))
        table += [
            (str(checkpoint), method, *found, len(values)) for found in zip(QUANTILES, *each, strict=True)
        ]
    return pd.DataFrame(table, columns=columns)
