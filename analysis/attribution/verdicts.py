"""Verdicts of the sanity check: whether a method's maps change when the network's weights are drawn anew.

The rule. By each measure the share of the likeness that is kept is (s - c) / (1 - c): s is the mean similarity to
the trained map, and c that by chance, the larger of two: with the trained map of another image, and with the
re-drawn network's map in random order over its pixels that are not 0. By a measure a map has changed if the 95 %
interval of the share lies below 1/2, and stays alike if it lies above. A measure with c above 0.9 cannot tell.
A method fails if re-drawing some layers leaves its maps as they are: by every telling measure more than 95 %
of the likeness is kept. Otherwise the checkpoint with the most layers re-drawn decides. There a method

- passes if its maps have changed by every measure that can tell,
- fails if they stay alike by every one,
- passes in part if they do both, and is undecided otherwise.

A pass also says how few layers are enough: from there on its maps have changed at every checkpoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.attribution.checkpoints import num_redrawn, redrawn_words
from analysis.attribution.map_similarity import MEASURES
from analysis.attribution.randomization import OTHER_IMAGE, SHUFFLED
from analysis.intervals import mean_interval

PASSES, FAILS, IN_PART, UNDECIDED, NOT_MEASURED = "passes", "fails", "in part", "undecided", "not measured"
# How a page colours a verdict.
BADGES = {PASSES: "good", FAILS: "bad", IN_PART: "warn", UNDECIDED: "plain", NOT_MEASURED: "plain"}
CHANGED, ALIKE, UNCLEAR, BLIND = "changed", "alike", "unclear", "cannot tell"

Facts = dict[str, Any]

# The share of the likeness beyond chance that divides changed maps from those that stay alike.
KEPT = 0.5
# Maps that keep more than that are those of the trained network.
UNTOUCHED = 0.95
# By chance as alike as that: the measure cannot tell.
MOST_BY_CHANCE = 0.9


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a method in a word, and the words that say why."""

    method: str
    verdict: str
    reason: str

    @property
    def text(self) -> str:
        """The verdict with its reason."""
        return f"{self.verdict}: {self.reason}"


def similarity_table(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return means over the images of a frame of `similarities`, by `method`, `checkpoint` and `measure`.

    Columns: `mean`, `low`, `high` (95 %), `count`, and `undefined`, the images without a number. For checkpoints
    also `other_image` and `shuffled`, the means by chance; `chance`, the larger; `kept` with `kept_low` and
    `kept_high`, the share of the likeness beyond chance; and `state`: `changed`, `alike`, `unclear` or
    `cannot tell`.
    """
    table = []
    for method, of_method in similarities.groupby("method", sort=False):
        pairs = of_method[of_method["checkpoint"] == OTHER_IMAGE]
        for checkpoint, rows in of_method.groupby("checkpoint", sort=False):
            for measure in MEASURES:
                facts = _facts(rows[measure])
                if checkpoint != OTHER_IMAGE:
                    facts |= _by_chance(rows[measure], pairs[measure], rows[SHUFFLED + measure])
                table.append({"method": method, "checkpoint": checkpoint, "measure": measure, **facts})
    return pd.DataFrame(table)


def verdicts(table: pd.DataFrame, methods: Sequence[str] | None = None) -> list[Verdict]:
    """Return the verdict on each method of a table of `similarity_table`; in its order unless given."""
    methods = list(table["method"].unique()) if methods is None else methods
    return [_verdict(method, table[table["method"] == method]) for method in methods]


def redrawn_checkpoints(table: pd.DataFrame) -> list[str]:
    """Return the checkpoints of a table with layers re-drawn, from the fewest layers to all."""
    depths = {name: num_redrawn(name) for name in table["checkpoint"].unique()}
    return sorted((name for name, depth in depths.items() if depth), key=lambda name: depths[name] or 0)


def _verdict(method: str, rows: pd.DataFrame) -> Verdict:
    checkpoints = redrawn_checkpoints(rows)
    if not checkpoints:
        return Verdict(
            method=method, verdict=NOT_MEASURED, reason="the run has no map of it with layers re-drawn"
        )
    by = {name: rows[rows["checkpoint"] == name].set_index("measure") for name in checkpoints}
    deepest = by[checkpoints[-1]]
    states, when = set(deepest["state"]) - {BLIND}, f"when {redrawn_words(checkpoints[-1])}"
    if ignored := [name for name, found in by.items() if _is_untouched(found)]:
        shown = _extreme(by[ignored[-1]], "least", ALIKE)
        reason = f"its maps do not change when {redrawn_words(ignored[-1])} ({shown})"
        return Verdict(method=method, verdict=FAILS, reason=reason)
    if states == {CHANGED}:
        first = _first_changed(by)
        reason = f"changes when {redrawn_words(first)} ({_extreme(by[first], 'most', CHANGED)})"
        return Verdict(method=method, verdict=PASSES, reason=reason)
    if states == {ALIKE}:
        reason = f"its maps stay alike {when} ({_extreme(deepest, 'least', ALIKE)})"
        return Verdict(method=method, verdict=FAILS, reason=reason)
    if {CHANGED, ALIKE} <= states:
        changed, alike = (_listed(deepest, state) for state in (CHANGED, ALIKE))
        return Verdict(
            method=method, verdict=IN_PART, reason=f"{when}, {changed} changes, and {alike} stays alike"
        )
    reason = f"the intervals over {int(deepest['count'].max()):,} images are too wide {when}"
    if not states:
        reason = f"no measure can tell {when}: maps are constant, or as alike by chance"
    return Verdict(method=method, verdict=UNDECIDED, reason=reason)


def _is_untouched(rows: pd.DataFrame) -> bool:
    telling = rows[rows["state"] != BLIND]
    return len(telling) > 0 and bool((telling["kept_low"] > UNTOUCHED).all())


def _first_changed(by: dict[str, pd.DataFrame]) -> str:
    """Return the checkpoint with the fewest layers re-drawn from which on all maps have changed."""
    first = list(by)[-1]
    for name in reversed(by):
        if set(by[name]["state"]) - {BLIND} != {CHANGED}:
            break
        first = name
    return first


def _extreme(rows: pd.DataFrame, extreme: str, state: str) -> str:
    """Return the measure by which maps are most or least alike beyond chance, with its numbers."""
    rows = rows[rows["state"] == state]
    name = rows["kept"].idxmax() if extreme == "most" else rows["kept"].idxmin()
    return f"{extreme} alike by {_numbers(rows.loc[name], MEASURES[str(name)])}"


def _listed(rows: pd.DataFrame, state: str) -> str:
    chosen = rows[rows["state"] == state]
    return ", ".join(_numbers(row, MEASURES[str(name)]) for name, row in chosen.iterrows())


def _numbers(row: pd.Series, name: str) -> str:
    # Adding 0 turns the -0.00 of a mean that rounds to 0 from below into 0.00.
    return f"{name}, {round(row['mean'], 2) + 0.0:.2f}, by chance {round(row['chance'], 2) + 0.0:.2f}"


def _facts(values: pd.Series) -> Facts:
    mean, low, high, count = mean_interval(values)
    return {
        "mean": float(mean),
        "low": float(low),
        "high": float(high),
        "count": int(count),
        "undefined": len(values) - int(count),
    }


def _by_chance(alike: pd.Series, pairs: pd.Series, shuffled: pd.Series) -> dict[str, object]:
    """Return the means by chance, and what a measure keeps beyond the larger one, with its 95 % interval."""
    other_image, in_random_order = float(pairs.mean()), float(shuffled.mean())
    if in_random_order >= other_image or np.isnan(other_image):
        chance, (kept, half) = in_random_order, _kept_of_pairs(alike, shuffled)
    else:
        chance, (kept, half) = other_image, _kept_of_means(_facts(alike), _facts(pairs))
    return {
        "other_image": other_image,
        "shuffled": in_random_order,
        "chance": chance,
        "kept": kept,
        "kept_low": kept - half,
        "kept_high": kept + half,
        "state": _state(chance, kept, half),
    }


def _kept_of_pairs(alike: pd.Series, shuffled: pd.Series) -> tuple[float, float]:
    """Return the kept share and half of its interval where both numbers are of the same images: a ratio of means.

    Images differ in how many zeros they have, so both numbers vary together. Cochran 1977, section 2.11.
    """
    room = float((1 - shuffled).mean())
    if not room > 0:
        return np.nan, np.nan
    kept = float((alike - shuffled).mean()) / room
    residuals = (alike - shuffled - kept * (1 - shuffled)) / room
    return kept, _half_width(_facts(residuals))


def _kept_of_means(alike: Facts, pairs: Facts) -> tuple[float, float]:
    """Return the kept share and half of its interval where the two numbers are independent: by propagation."""
    room = 1 - pairs["mean"]
    kept = (alike["mean"] - pairs["mean"]) / room
    # A single pair of images has no interval; its number counts as known.
    of_pairs = np.nan_to_num(_half_width(pairs))
    return kept, float(np.hypot(_half_width(alike), (1 - kept) * of_pairs) / room)


def _half_width(facts: Facts) -> float:
    return facts["high"] - facts["mean"]


def _state(chance: float, kept: float, half: float) -> str:
    if np.isnan(kept) or chance > MOST_BY_CHANCE:
        return BLIND
    if kept + half < KEPT:
        return CHANGED
    return ALIKE if kept - half > KEPT else UNCLEAR
