"""How a comparison is shown: as a table of texts, in the report, and as a figure."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.attacks import norm_panels
from analysis.attacks.norm_panels import WORST, NormPanel
from analysis.attacks.norms import NAMES, ORDER
from analysis.attacks.pairing import TARGETED
from analysis.attacks.worst_case import ANY
from analysis.naming import format_epsilon

_AMONG = {"all": "", "initially_correct": " right"}


def is_worst(table: pd.DataFrame) -> pd.Series:
    """Return which rows of `compare` are worst cases."""
    return table["attack"].isin([ANY, ANY + TARGETED])


def summary(table: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return a table of `compare` as texts."""
    counted = table[table["count"] > 0]
    return pd.DataFrame(
        {
            "Checkpoint": counted["checkpoint"],
            "Attack": counted["attack"],
            "ε": [epsilon_text(*each) for each in zip(counted["epsilon"], counted["norm"], strict=True)],
            "Images": [
                f"{row.count_:,}{_AMONG[row.denominator]}" for row in _with_count(counted).itertuples()
            ],
            first: [f"{100 * rate:.1f} %" for rate in counted["first_rate"]],
            second: [f"{100 * rate:.1f} %" for rate in counted["second_rate"]],
            "Difference": [difference_text(row) for row in counted.to_dict("records")],
            "Alone": [f"{row.only_first:,} / {row.only_second:,}" for row in counted.itertuples()],
            "p (mid-p)": [p_text(p) for p in counted["p_mid"]],
            "p (exact)": [p_text(p) for p in counted["p_exact"]],
        }
    )


def groups(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what a page shows, by attack and checkpoint: rows of images right to begin with, ε and p as texts."""
    rows = table[(table["denominator"] == "initially_correct") & (table["count"] > 0)]
    rows = rows.assign(
        epsilon_text=[epsilon_text(*each) for each in zip(rows["epsilon"], rows["norm"], strict=True)],
        p=[p_text(each) for each in rows["p_mid"]],
    )
    # The worst case has one name in every norm.
    names = rows["attack"].where(~is_worst(rows), rows["attack"] + ", " + rows["norm"].map(NAMES))
    return [
        {"checkpoint": checkpoint, "attack": attack, "rows": of_attack.to_dict("records")}
        for (checkpoint, attack), of_attack in rows.groupby([rows["checkpoint"], names], sort=False)
    ]


def epsilon_text(epsilon: float, norm: str) -> str:
    """Return ε as the norm is counted, or `any` for a minimum."""
    if np.isnan(epsilon):
        return "any"
    return f"{epsilon:.4g} ({NAMES[norm]})" if norm in ("l1", "l2") else format_epsilon(epsilon)


def difference_text(row: Mapping[str, object]) -> str:
    """Return a difference with its interval in percentage points."""
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(
        *(100 * float(row[name]) for name in ("difference", "low", "high"))
    )


def p_text(p: float) -> str:
    """Return a p-value with two digits."""
    return "<0.0001" if p < 0.0001 else f"{p:.2g}"


def panels(table: pd.DataFrame) -> list[NormPanel]:
    """Return a panel of differences against ε for each norm, checkpoint and aim, of images right to begin with."""
    among = table[
        (table["denominator"] == "initially_correct") & (table["count"] > 0) & table["epsilon"].notna()
    ]
    among = among.assign(
        aim=np.where(among["attack"].str.endswith(TARGETED), TARGETED, ""),
        curve=among["attack"].mask(is_worst(among), WORST),
    )
    several, found = among["checkpoint"].nunique() > 1, []
    for norm in ORDER:
        of_norm = among[among["norm"] == norm]
        for (checkpoint, aim), rows in of_norm.groupby(["checkpoint", "aim"], sort=False):
            curves = {
                str(name): curve.assign(rate=curve["difference"])
                for name, curve in rows.groupby("curve", sort=False)
            }
            title = f"{NAMES[norm]} norm{aim}" + (f", {checkpoint}" if several else "")
            found.append(NormPanel(title=title, norm=norm, curves=curves))
    return found


def figures(table: pd.DataFrame, first: str, second: str) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure: the differences against ε; nothing where no attack has a norm."""
    chosen = panels(table)
    if chosen:
        notes = [
            "of images that both have right to begin with; above 0: the first misleads more",
            "bands: 95 % intervals of the paired difference (Newcombe)",
        ]
        if any(WORST in panel.curves for panel in chosen):
            notes.append(
                "worst case: any method of the norm that both have, on images that both have for all of them"
            )
        title = f"Success of {first} minus that of {second}"
        yield (
            "comparison",
            norm_panels.figure(
                chosen, title=title, y="difference, percentage points", notes=notes, signed=True
            ),
        )


def _with_count(table: pd.DataFrame) -> pd.DataFrame:
    # `count` is a method of a named tuple.
    return table.rename(columns={"count": "count_"})
