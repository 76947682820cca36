"""Two runs, methods or checkpoints on the same images: whether one misleads more of them, and by how much.

python -m analysis.attacks.comparison RUN RUN --output DIR [--rounded] [--format text|markdown|latex|csv]
python -m analysis.attacks.comparison RUN --methods fgsm,pgd --output DIR
python -m analysis.attacks.comparison RUN --checkpoints untrained,trained --output DIR

The images are paired, so that what is compared is each image with itself: `analysis.paired` has the test and the
interval. The p-values are not corrected for the number of rows.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attacks import norm_panels
from analysis.attacks.norm_panels import NormPanel
from analysis.attacks.norms import NAMES, ORDER
from analysis.attacks.outcomes import read_outcomes
from analysis.attacks.pairing import (
    PairedRow,
    Side,
    common_places,
    numbers_of,
    refuse_other_images,
    row_of,
    run_names,
    shared_attacks,
)
from analysis.attacks.success_rates import DENOMINATORS
from analysis.command_line import exit_status, save_pages, save_table
from analysis.naming import format_epsilon
from analysis.paired import mcnemar, paired_difference
from analysis.run import Run, open_runs
from analysis.text_tables import FORMATS, text_table
from sweeps.store.terminal_text import terminal_text

BY = ["checkpoint", "attack", "epsilon"]
_COLUMNS = [
    *BY,
    "norm",
    "denominator",
    "first_rate",
    "second_rate",
    "difference",
    "low",
    "high",
    "p_exact",
    "p_mid",
    "count",
    "both",
    "only_first",
    "only_second",
    "neither",
]


_AMONG = {"all": "", "initially_correct": " right"}


def compare(first: Side, second: Side) -> pd.DataFrame:
    """Return success on both sides by `BY` and `denominator`, of the images that both attack.

    `difference` is the first rate minus the second, with Newcombe's interval (95 %), `p_exact` and `p_mid` are
    of McNemar's test. `denominator`: all images, or those that both sides have right to begin with. Of `count`
    images, `both` sides mislead so many, one alone `only_first` and `only_second`, and `neither` the rest.
    Targets of a targeted attack are taken together. The epsilon of methods that seek the minimum is NaN: success
    is that any ε is found.
    """
    places = common_places(first.outcomes.image_index, second.outcomes.image_index)
    tables: dict[PairedRow, dict[str, NDArray[np.int64]]] = {}
    for one, other in shared_attacks(first, second):
        held = tables.setdefault(row_of(first, one, second, other), {})
        for denominator, numbers in numbers_of(first.outcomes, one, second.outcomes, other, places).items():
            held[denominator] = held.get(denominator, 0) + numbers
    rows = [
        _facts(row, denominator, *map(int, held[denominator]))
        for row, held in tables.items()
        for denominator in DENOMINATORS
    ]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    # As elsewhere: the attacks of most people's norm first.
    order = {norm: place for place, norm in enumerate((*ORDER, ""))}
    table = table.assign(place=table["norm"].map(order)).sort_values(
        ["checkpoint", "place", "attack", "epsilon"]
    )
    return table[_COLUMNS].reset_index(drop=True)


def compare_runs(first: Run, second: Run, *, rounded: bool = False) -> pd.DataFrame:
    """Return the table of `compare` of two runs. Raises ValueError where they share no attack or image."""
    refuse_other_images(first, second)
    names = run_names(first, second)
    sides = [
        Side(name=name, outcomes=read_outcomes(run, rounded=rounded))
        for name, run in zip(names, (first, second), strict=True)
    ]
    table = compare(*sides)
    if table["count"].sum() == 0:
        raise ValueError(
            f"{first} and {second} share no attack on the same image: give runs of the same data set and split, "
            "with a method and an ε in common"
        )
    return table


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
    return [
        {"checkpoint": checkpoint, "attack": attack, "rows": of_attack.to_dict("records")}
        for (checkpoint, attack), of_attack in rows.groupby(["checkpoint", "attack"], sort=False)
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
    """Return a panel of differences against ε for each norm and checkpoint, of images right to begin with."""
    among = table[
        (table["denominator"] == "initially_correct") & (table["count"] > 0) & table["epsilon"].notna()
    ]
    several, found = among["checkpoint"].nunique() > 1, []
    for norm in ORDER:
        for checkpoint, rows in among[among["norm"] == norm].groupby("checkpoint", sort=False):
            curves = {
                str(attack): curve.assign(rate=curve["difference"])
                for attack, curve in rows.groupby("attack", sort=False)
            }
            title = f"{NAMES[norm]} norm, {checkpoint}" if several else f"{NAMES[norm]} norm"
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
        title = f"Success of {first} minus that of {second}"
        yield (
            "comparison",
            norm_panels.figure(
                chosen, title=title, y="difference, percentage points", notes=notes, signed=True
            ),
        )


def _facts(
    row: PairedRow, denominator: str, both: int, only_first: int, only_second: int, neither: int
) -> dict[str, object]:
    count = both + only_first + only_second + neither
    difference, low, high = paired_difference(both, only_first, only_second, neither)
    exact, mid = mcnemar(only_first, only_second)
    return {
        **row._asdict(),
        "epsilon": np.nan if row.epsilon is None else row.epsilon,
        "denominator": denominator,
        "first_rate": (both + only_first) / count if count else np.nan,
        "second_rate": (both + only_second) / count if count else np.nan,
        "difference": difference,
        "low": low,
        "high": high,
        "p_exact": exact,
        "p_mid": mid,
        "count": count,
        "both": both,
        "only_first": only_first,
        "only_second": only_second,
        "neither": neither,
    }


def _with_count(table: pd.DataFrame) -> pd.DataFrame:
    # `count` is a method of a named tuple.
    return table.rename(columns={"count": "count_"})


def _sides(options: argparse.Namespace) -> tuple[Side, Side]:
    """Return the two sides that the command line names. Raises ValueError unless there are two."""
    runs = open_runs(options.runs)
    axis, text = ("method", options.methods) if options.methods else ("checkpoint", options.checkpoints)
    if options.methods and options.checkpoints:
        raise ValueError("methods and checkpoints are both given: compare one of them")
    if text is None:
        if len(runs) != 2:
            raise ValueError(f"runs are {len(runs)}: give two, or one with --methods or --checkpoints")
        refuse_other_images(*runs)
        names = run_names(*runs)
        ones = [read_outcomes(run, rounded=options.rounded) for run in runs]
        return Side(name=names[0], outcomes=ones[0]), Side(name=names[1], outcomes=ones[1])
    return _sides_of_one(runs, axis, text.split(","), rounded=options.rounded)


def _sides_of_one(
    runs: Sequence[Run], axis: str, values: Sequence[str], *, rounded: bool
) -> tuple[Side, Side]:
    if len(runs) != 1 or len(values) != 2:
        raise ValueError(f"{axis}s are {','.join(values)} of {len(runs)} runs: give two of one run")
    outcomes = read_outcomes(runs[0], rounded=rounded)
    known = {each.method if axis == "method" else each.images.checkpoint for each in outcomes.attacks}
    for value in values:
        if value not in known:
            raise ValueError(f"{axis} is {value!r}: choose from {', '.join(sorted(known))}")
    first, second = (Side(name=value, outcomes=outcomes, **{axis: value}) for value in values)
    return first, second


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.attacks.comparison",
        description="Compare attacks on the same images, in pairs.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="two run directories, or one with --methods")
    parser.add_argument("--methods", metavar="A,B", help="two methods of one run")
    parser.add_argument("--checkpoints", metavar="A,B", help="two checkpoints of one run")
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder for what is written"
    )
    parser.add_argument("--format", default="text", choices=FORMATS, help="of the table that is printed")
    options = parser.parse_args(arguments)
    first, second = _sides(options)
    table = compare(first, second)
    if table["count"].sum() == 0:
        raise ValueError(
            f"{first.name} and {second.name} share no attack on the same image: give those of the same data set "
            "and split, with an ε in common"
        )
    print(text_table(summary(table, first.name, second.name), options.format))
    paths = [*save_table(table, options.output, "comparison")]
    paths += save_pages(figures(table, first.name, second.name), options.output)
    for path in paths:
        print(terminal_text(str(path)), file=sys.stdout if options.format == "text" else sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status(main))
